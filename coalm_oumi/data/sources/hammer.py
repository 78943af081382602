"""xLAM function-calling records to Hammer's function-calling samples (paper, Figure 5)."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from coalm_oumi.core.jsontext import Json, dumps, is_object
from coalm_oumi.core.options import Options, Seed
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources.masking import CallRecord, mask
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import Record, RecordError, Rejected, Source
from coalm_oumi.data.sources.tools import by_name, read_calls, read_tools, undeclared
from coalm_oumi.formats import calls
from coalm_oumi.rendering import prompts


class HammerOptions(Options):
    """The options of the source `hammer`.

    Attributes:
        copies: How many samples a record gives, each masked by its own draw.
        masking: The probability that a copy is masked.
        seed: Seeds the masking.
    """

    copies: int = Field(default=3, ge=1, le=1000)
    masking: float = Field(default=2 / 3, ge=0, le=1)
    seed: Seed = 0


class Hammer:
    """Reads xLAM-60k and Hammer's irrelevance records.

    With the defaults, 67,500 records give the 202,500 samples of Table 1. (Its rows of Hammer and
    ToolACE are swapped: ToolACE has 11,300 conversations, which cannot give that many.)
    """

    def __init__(self, path: Path, options: HammerOptions | None = None) -> None:
        """Opens the files.

        Args:
            path: A JSON file that holds a list of `{query, tools, answers}`, or a folder of such
                files. Tools and answers are lists or JSON text of them.
            options: The defaults, if not given.

        Raises:
            CoalmError: No such file.
        """
        self._options = options or HammerOptions()
        self._files = raw_files(path, "*.json", of="the xLAM records")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the records.

        Raises:
            CoalmError: A file is not a JSON list.
        """
        return listed(self._files, of="records")

    def samples(self, record: Record) -> list[Sample]:
        """Renders one record into its copies.

        The content of a record seeds its masking. A record that the files repeat gives the same
        copies again, so that a build recognises and drops them.

        Raises:
            RecordError: The record does not have xLAM's shape, or its answer does not fit a tool.
        """
        parsed = _parse(record.content)
        file, _, index = record.key.rpartition("/")
        name = f"hammer/{file.removesuffix('.json')}/{index}"
        content = _fingerprint(parsed)
        samples: list[Sample] = []
        for copy in range(self._options.copies):
            random_ = random.Random(f"{self._options.seed}/{content}/{copy}")
            is_masked = random_.random() < self._options.masking
            samples.append(_sample(mask(parsed, random_) if is_masked else parsed, name))
        return samples


SOURCE = Source("la", Hammer, HammerOptions)


def instruction(tools: Sequence[Mapping[str, Json]]) -> str:
    """Renders the instruction of Figure 5."""
    return prompts.render("hammer", tools=tools)


def _parse(record: Json) -> CallRecord:
    query = record.get("query") if is_object(record) else None
    if not isinstance(query, str) or not query.strip():
        raise RecordError("`query` is missing or empty")
    answers = read_calls(record.get("answers"), "answers")
    tools = by_name(read_tools(record.get("tools")), answers)
    for call in answers:
        if problem := undeclared(call, tools):
            raise RecordError(f"the answer does not fit the tools: {problem}")
    return CallRecord(query.strip(), [tool.flat() for tool in tools.values()], answers)


def _fingerprint(record: CallRecord) -> str:
    answers = calls.to_json(record.answers)
    text = dumps([record.query, list(record.tools), answers])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _sample(record: CallRecord, dialogue_id: str) -> Sample:
    return Sample(
        instruction=instruction(record.tools),
        input=prompts.render("query", query=record.query),
        output=calls.to_json(record.answers),
        source="hammer",
        domain="la",
        dialogue_id=dialogue_id,
    )
