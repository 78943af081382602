"""API-Bank in Hammer's form: `{query: [{role, content}], tools, answers}` records."""

from pathlib import Path

from coalm_oumi import calls, prompts
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, read_json_list
from coalm_oumi.sample import Sample


def read(path: Path) -> list[Sample]:
    """Reads API-Bank's questions as function-calling samples.

    Args:
        path: `apibank_l1.json` or `apibank_l2.json`.

    Raises:
        CoalmError: No such file, or a record is not of that form.
    """
    records = read_json_list(path, of="records")
    if not records:
        raise CoalmError(f"{path}: the list of records is empty")
    return [_sample(record, path, index) for index, record in enumerate(records)]


def _sample(record: Json, file: Path, index: int) -> Sample:
    try:
        answers = [calls.from_record(answer) for answer in record["answers"]]
        return Sample(
            instruction=prompts.render("hammer", tools=record["tools"]),
            input=prompts.render("api_bank_query", messages=record["query"]),
            output=calls.to_json(answers),
            source="api_bank",
            domain="la",
            dialogue_id=f"api_bank/{file.stem}/{index}",
        )
    except (KeyError, TypeError, CoalmError) as error:
        raise CoalmError(
            f"{file}[{index}]: not a record of API-Bank in Hammer's form: {error!r}; expected "
            "query (role, content), tools and answers (name, arguments)"
        ) from error
