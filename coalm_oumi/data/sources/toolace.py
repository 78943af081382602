"""ToolACE conversations to function-calling samples with history (paper, section 4.1)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import NoOptions, Record, RecordError, Source
from coalm_oumi.formats import calls
from coalm_oumi.rendering import prompts

_SPEAKERS: Mapping[str, str] = {"user": "User", "assistant": "System", "tool": "Observation"}


class ToolAce:
    """Reads ToolACE: one sample an assistant turn, with the turns before it as history.

    A conversation with a call that cannot be parsed gives no sample at all, since its later turns
    depend on the call.
    """

    def __init__(self, path: Path, options: NoOptions | None = None) -> None:
        """Opens the file.

        Args:
            path: The JSON file of `{system, conversations}` records, or the folder of `data.json`.
            options: There are none.

        Raises:
            CoalmError: No such file.
        """
        self._files = raw_files(path, "data.json", of="ToolACE")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record]:
        """Yields the conversations.

        Raises:
            CoalmError: The file is not a JSON list.
        """
        return listed(self._files, of="conversations")

    def samples(self, record: Record) -> list[Sample]:
        """Renders one conversation.

        Raises:
            CoalmError: It is not of ToolACE's shape, or a call in it cannot be parsed.
        """
        _, _, index = record.key.rpartition("/")
        return _samples(record.content, f"toolace/{index}")


SOURCE = Source("la", ToolAce)


def _samples(record: Json, dialogue_id: str) -> list[Sample]:
    if not isinstance(record, dict) or not isinstance(record.get("system"), str):
        raise RecordError("`system` is missing or is not text")
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise RecordError("`conversations` is missing or empty")
    tools = _tools(record["system"])
    said = [_turn(turn, number) for number, turn in enumerate(turns)]
    samples: list[Sample] = []
    for number, (speaker, text) in enumerate(said):
        if speaker != "System":
            continue
        if number == 0:
            raise RecordError("the assistant speaks first")
        # What the target answers is the input: the user's turn, or the result of a tool.
        history = [{"speaker": who, "text": what} for who, what in said[: number - 1]]
        before, heard = said[number - 1]
        samples.append(
            Sample(
                instruction=prompts.render("toolace", tools=tools, history=history),
                input=f"{before}: {heard}",
                output=text,
                source="toolace",
                domain="la",
                dialogue_id=dialogue_id,
            )
        )
    return samples


def _tools(system: str) -> list[Json]:
    """Finds the JSON list of tools inside the system text."""
    start = system.find("[{")
    if start < 0:
        raise RecordError("`system` holds no JSON list of tools")
    try:
        tools, _ = json.JSONDecoder().raw_decode(system, start)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the list of tools in `system` is not JSON: {error}") from error
    return tools


def _turn(turn: Json, number: int) -> tuple[str, str]:
    speaker = _SPEAKERS.get(str(turn.get("from"))) if isinstance(turn, dict) else None
    text = turn.get("value") if isinstance(turn, dict) else None
    if speaker is None or not isinstance(text, str) or not text.strip():
        raise RecordError(f"turn {number} has no known speaker or no text")
    text = text.strip()
    if speaker == "System" and text.startswith("["):
        try:
            text = calls.to_json(calls.parse_bracket(text))
        except calls.CallError as error:
            raise RecordError(f"turn {number}: {error}") from error
    return speaker, text
