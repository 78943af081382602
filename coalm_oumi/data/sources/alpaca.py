"""Your own data: records with Alpaca's three columns, or chat messages.

A record is `{instruction, input, output}`, where `input` may be null or absent, or `{messages}`
with roles and contents as OpenAI writes them, and `tools` if there are any. Of chat messages the
last assistant turn is the target and the rest is the history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Domain, Sample, columns_of
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import Record, RecordError, Rejected, Source
from coalm_oumi.data.sources.tools import Tool, by_name, read_calls, read_tools, undeclared
from coalm_oumi.files.records import record_files
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts


class AlpacaOptions(Options):
    """The options of the source `alpaca`.

    Attributes:
        domain: The skill that the samples train, for records that do not say it themselves.
    """

    domain: Domain = "tod"


class Alpaca:
    """Reads your own records: `.json` lists, `.jsonl` and `.parquet`, one sample per record."""

    def __init__(self, path: Path, options: AlpacaOptions | None = None) -> None:
        """Opens the files.

        Args:
            path: A file of records, or a folder of such files. A folder may be a snapshot of a data
                set on the Hub. If some of its files are called `train...`, only these are read.
            options: The defaults, if not given.

        Raises:
            CoalmError: No such file.
        """
        self._domain: Domain = (options or AlpacaOptions()).domain
        self._files = record_files(path) if path.is_dir() else [path]
        self._files = self._files or raw_files(path, "*.jsonl", of="records of your own")
        raw_files(self._files[0], "*", of="records of your own")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the records.

        Raises:
            CoalmError: A file is neither JSON, JSON Lines nor Parquet.
        """
        return listed(self._files, of="records")

    def samples(self, record: Record) -> list[Sample]:
        """Makes one record one sample.

        Raises:
            CoalmError: The record has neither shape, or its target is empty.
        """
        content = record.content
        columns = sample_columns(content)
        file, _, index = record.key.rpartition("/")
        own_id = f"alpaca/{Path(file).stem}/{index}"
        return [
            Sample(
                instruction=columns["instruction"],
                input=columns["input"],
                output=columns["output"],
                source="alpaca",
                domain=content.get("domain") or self._domain,
                dialogue_id=columns.get("dialogue_id", own_id),
            )
        ]


SOURCE = Source("tod", Alpaca, AlpacaOptions)


def sample_columns(record: Json) -> dict[str, str]:
    """Returns the columns of a sample that a record of either shape gives.

    Raises:
        CoalmError: The record has neither shape, or its target is empty.
    """
    if not is_object(record):
        return columns_of(record)
    if record.get("messages") is not None and record.get("instruction") is None:
        record = {**record, **_from_messages(record["messages"], record.get("tools"))}
    return columns_of(record)


_SPEAKERS: Mapping[str, str] = {"user": "User", "assistant": "System", "tool": "Observation"}


def _from_messages(messages: Json, tools: Json) -> dict[str, str]:
    """Makes the last assistant turn the target, and what is before it the prompt."""
    if not is_list(messages):
        raise RecordError("`messages` is not a list")
    turns = [_turn(message, number) for number, message in enumerate(messages)]
    targets = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
    if not targets:
        raise RecordError("`messages` has no assistant turn, so there is no target")
    before, answer = turns[: targets[-1]], turns[targets[-1]]
    offered = read_tools(tools) if tools else []
    target = _target(answer, offered, targets[-1])

    system = [turn.text for turn in before if turn.role in ("system", "developer")]
    said = [(_SPEAKERS[turn.role], turn.written) for turn in before if turn.role in _SPEAKERS]
    if not said:
        raise RecordError("`messages` has nothing before the last assistant turn to answer")
    *earlier, (speaker, asked) = said
    history = [{"speaker": who, "text": text} for who, text in earlier]
    if offered:
        described = [_without_nulls(tool.description) for tool in offered]
        instruction = prompts.render("toolace", tools=described, facts=system, history=history)
        return {"instruction": instruction, "input": f"{speaker}: {asked}", "output": target}
    if history:
        instruction = prompts.render("chat", system=system, history=history)
        return {"instruction": instruction, "input": f"{speaker}: {asked}", "output": target}
    if system:
        return {"instruction": "\n\n".join(system), "input": asked, "output": target}
    return {"instruction": asked, "input": "", "output": target}


def _without_nulls(described: Json) -> Json:
    """Drops fields that are null: Parquet gives every tool the parameters of all the others."""
    if is_object(described):
        return {k: _without_nulls(value) for k, value in described.items() if value is not None}
    if is_list(described):
        return [_without_nulls(value) for value in described]
    return described


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    calls: Sequence[FunctionCall]

    @property
    def written(self) -> str:
        """The text, and the calls as a JSON list below it."""
        written = [calls.to_json(self.calls)] if self.calls else []
        return "\n".join([self.text] * bool(self.text) + written)


def _turn(message: Json, number: int) -> _Turn:
    role = message.get("role") if is_object(message) else None
    if role not in (*_SPEAKERS, "system", "developer"):
        raise RecordError(f"messages[{number}]: unknown role {role!r}")
    text = _text(message.get("content"), number)
    tool_calls = message.get("tool_calls")
    made: Sequence[FunctionCall] = ()
    if tool_calls is not None and len(tool_calls):  # Parquet gives an array, which has no truth
        made = read_calls(tool_calls, f"messages[{number}].tool_calls")
    if not text and not made:
        raise RecordError(f"messages[{number}]: the {role}'s turn is empty")
    return _Turn(role, text, made)


def _target(turn: _Turn, offered: Sequence[Tool], number: int) -> str:
    """Returns a turn as a target: text, or calls that the prompt's tools declare."""
    if turn.text and turn.calls:
        raise RecordError(f"messages[{number}]: has both text and tool calls; keep one of them")
    tools = by_name(offered, turn.calls)
    for call in turn.calls:
        if problem := undeclared(call, tools):
            raise RecordError(f"messages[{number}]: {problem}")
    return turn.written


def _text(content: Json, number: int) -> str:
    """Reads a content: text, nothing, or OpenAI's list of parts that are text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content.strip()
    parts: list[str] = []
    for part in content if is_list(content) else [content]:
        text = part.get("text") if is_object(part) else None
        if not isinstance(text, str):
            raise RecordError(f"messages[{number}]: its content is not text")
        parts.append(text)
    return "".join(parts).strip()
