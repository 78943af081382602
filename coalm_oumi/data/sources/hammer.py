"""xLAM function-calling records to Hammer's function-calling samples (paper, Figure 5)."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from coalm_oumi.core.jsontext import Json, loads
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources.masking import Masked, mask
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import Record, RecordError, Source
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts


class HammerOptions(Options):
    """What a recipe may say of the source `hammer`.

    Attributes:
        copies: How many samples a record gives, each masked by its own draw.
        masking: The probability that a copy is masked.
        seed: Seeds the masking.
    """

    copies: int = Field(3, ge=1)
    masking: float = Field(2 / 3, ge=0, le=1)
    seed: int = 0


class Hammer:
    """Reads xLAM-60k and Hammer's irrelevance records.

    With the defaults, 67,500 records give the 202,500 samples of Table 1. (Its rows of Hammer and
    ToolACE are swapped: ToolACE has 11,300 conversations, which cannot give that many.)
    """

    def __init__(self, path: Path, options: HammerOptions | None = None) -> None:
        """Opens the files.

        Args:
            path: A JSON file that holds a list of `{query, tools, answers}`, tools and answers
                being JSON in text, or a folder of such files.
            options: The defaults, if not given.

        Raises:
            CoalmError: No such file.
        """
        self._options = options or HammerOptions()
        self._files = raw_files(path, "*.json", of="the xLAM records")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record]:
        """Yields the records.

        Raises:
            CoalmError: A file is not a JSON list.
        """
        return listed(self._files, of="records")

    def samples(self, record: Record) -> list[Sample]:
        """Renders one record into its copies.

        Raises:
            CoalmError: The record is not of xLAM's shape, or its answer calls what no tool is.
        """
        parsed = _parse(record.content)
        file, _, index = record.key.rpartition("/")
        samples = []
        for copy in range(self._options.copies):
            random_ = random.Random(f"{self._options.seed}/{record.key}/{copy}")
            masked = random_.random() < self._options.masking
            samples.append(
                _sample(
                    mask(parsed.query, parsed.tools, parsed.answers, random_) if masked else parsed,
                    f"hammer/{file.removesuffix('.json')}/{index}",
                )
            )
        return samples


SOURCE = Source("la", Hammer, HammerOptions)


def instruction(tools: Sequence[Mapping[str, Json]]) -> str:
    """Renders the instruction of Figure 5."""
    return prompts.render("hammer", tools=tools)


@dataclass(frozen=True, slots=True)
class _Record:
    query: str
    tools: Sequence[Mapping[str, Json]]
    answers: Sequence[FunctionCall]


def _parse(record: Json) -> _Record:
    query = record.get("query") if isinstance(record, dict) else None
    if not isinstance(query, str) or not query.strip():
        raise RecordError("`query` is missing or empty")
    tools = _tools(record)
    answers = calls.parse_json(_text_field(record, "answers"))
    for call in answers:
        if call.name not in tools:
            raise RecordError(f"the answer calls `{call.name}`, which is not among the tools")
        for argument in call.arguments:
            if argument not in tools[call.name].get("parameters", {}):
                raise RecordError(f"`{call.name}` has no parameter `{argument}`")
    return _Record(query.strip(), list(tools.values()), answers)


def _tools(record: Json) -> dict[str, Mapping[str, Json]]:
    """Reads the tools by name. A tool that is listed twice counts once."""
    try:
        tools = loads(_text_field(record, "tools"))
    except ValueError as error:
        raise RecordError(f"`tools` is not JSON: {error}") from error
    if not isinstance(tools, list):
        raise RecordError("`tools` does not hold a JSON list")
    by_name: dict[str, Mapping[str, Json]] = {}
    for tool in tools:
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise RecordError("a tool has no `name`")
        if not isinstance(tool.get("parameters", {}), dict):
            raise RecordError(f"the parameters of `{tool['name']}` are not an object")
        by_name.setdefault(tool["name"], tool)
    return by_name


def _sample(record: _Record | Masked, dialogue_id: str) -> Sample:
    return Sample(
        instruction=instruction(record.tools),
        input=prompts.render("query", query=record.query),
        output=calls.to_json(record.answers),
        source="hammer",
        domain="la",
        dialogue_id=dialogue_id,
    )


def _text_field(record: Json, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise RecordError(f"`{name}` is missing or is not JSON in text")
    return value
