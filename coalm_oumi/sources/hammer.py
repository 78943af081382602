"""xLAM function-calling records to Hammer's function-calling samples (paper, Figure 5)."""

from collections.abc import Iterator
from pathlib import Path

from coalm_oumi import calls, prompts
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, loads, read_json
from coalm_oumi.sample import Sample
from coalm_oumi.sources.rejected import RecordError, Rejected


def read(path: Path) -> Iterator[Sample | Rejected]:
    """Yields one sample a record of xLAM-60k or of Hammer's irrelevance records.

    Args:
        path: A JSON file that holds a list of `{query, tools, answers}`, tools and answers being
            JSON in text, or a folder of such files.

    Raises:
        CoalmError: No such file, or it is not a JSON list.
    """
    for file, index, record in _records(path):
        try:
            yield _sample(record, f"hammer/{file.stem}/{index}")
        except CoalmError as error:
            yield Rejected(f"{file}[{index}]", str(error))


def _records(path: Path) -> Iterator[tuple[Path, int, Json]]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise CoalmError(f"{path}: no .json file here; point to the xLAM records")
    for file in files:
        content = read_json(file)
        if not isinstance(content, list):
            raise CoalmError(f"{file}: expected a JSON list of records")
        for index, record in enumerate(content):
            yield file, index, record


def _sample(record: Json, dialogue_id: str) -> Sample:
    query = record.get("query") if isinstance(record, dict) else None
    if not isinstance(query, str) or not query.strip():
        raise RecordError("`query` is missing or empty")
    tools = _json_field(record, "tools")
    if not isinstance(tools, list):
        raise RecordError("`tools` does not hold a JSON list")
    offered = {tool.get("name") for tool in tools if isinstance(tool, dict)}
    answers = calls.parse_json(_text_field(record, "answers"))
    for call in answers:
        if call.name not in offered:
            raise RecordError(f"the answer calls `{call.name}`, which is not among the tools")
    return Sample(
        instruction=prompts.render("hammer", tools=tools),
        input=prompts.render("query", query=query.strip()),
        output=calls.to_json(answers),
        source="hammer",
        domain="la",
        dialogue_id=dialogue_id,
    )


def _text_field(record: Json, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise RecordError(f"`{name}` is missing or is not JSON in text")
    return value


def _json_field(record: Json, name: str) -> Json:
    try:
        return loads(_text_field(record, name))
    except ValueError as error:
        raise RecordError(f"`{name}` is not JSON: {error}") from error
