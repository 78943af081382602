"""ToolACE conversations to function-calling samples with history (paper, section 4.1)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.jsontext import Json, is_list, is_object, loads, model_decoder, unfenced
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import LeftOut, NoOptions, Record, RecordError, Rejected, Source
from coalm_oumi.data.sources.tools import Tool, by_name, read_calls, read_tools, undeclared
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

_SPEAKERS: Mapping[str, str] = {
    "user": "User",
    "human": "User",
    "assistant": "System",
    "gpt": "System",
    "tool": "Observation",
    "function": "Observation",
    "observation": "Observation",
}


class ToolAce:
    """Reads ToolACE: one sample per assistant turn, with the turns before it as history.

    Calls become JSON, as the prompt asks for. A turn that is empty, or whose call cannot be read,
    ends a conversation: its earlier samples stay, and the manifest counts the later ones as left
    out. A call of a function or an argument that the system text does not declare is not a target,
    and the conversation continues after it.
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

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the conversations.

        Raises:
            CoalmError: The file is not a JSON list.
        """
        return listed(self._files, of="conversations")

    def samples(self, record: Record) -> Sequence[Sample | LeftOut]:
        """Renders one conversation.

        Raises:
            RecordError: It does not have ToolACE's shape, or no turn of it can be a target.
        """
        _, _, index = record.key.rpartition("/")
        return _samples(record.content, f"toolace/{index}")


SOURCE = Source("la", ToolAce)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn, in the form of the samples.

    Attributes:
        speaker: `User`, `System` or `Observation`.
        text: What they say. Calls are JSON.
        problem: Why it cannot be a target; None if it can.
    """

    speaker: str
    text: str
    problem: str | None = None


class _BreakError(RecordError):
    """A turn after which a conversation cannot be used. The manifest counts its `reason`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


def _samples(record: Json, dialogue_id: str) -> Sequence[Sample | LeftOut]:
    if not is_object(record) or not isinstance(record.get("system"), str):
        raise RecordError("`system` is missing or is not text")
    raw_turns = record.get("conversations")
    if not is_list(raw_turns) or not raw_turns:
        raise RecordError("`conversations` is missing or empty")
    raw_tools, facts = _read_system(record["system"])
    tools = by_name(read_tools(raw_tools), answers=[])

    results: list[Sample | LeftOut] = []
    problems: list[str] = []
    turns: list[_Turn] = []
    for number, raw_turn in enumerate(raw_turns):
        try:
            turn = _turn(raw_turn, tools)
        except _BreakError as error:
            problems.append(f"turn {number}: {error}")
            lost = sum(_speaker(later) == "System" for later in raw_turns[number:])
            results += [LeftOut(error.reason)] * max(lost, 1)
            break
        if turn.speaker == "System" and not turns:
            turn = _Turn(turn.speaker, turn.text, "the assistant speaks first")
        turns.append(turn)
        if turn.problem:
            problems.append(f"turn {number}: {turn.problem}")
            results.append(LeftOut(_counted_as(turn.problem)))
        elif turn.speaker == "System":
            results.append(_sample(turns, raw_tools, facts, dialogue_id))
    if not any(isinstance(result, Sample) for result in results):
        raise RecordError(problems[0] if problems else "the assistant says nothing")
    return results


def _sample(
    turns: Sequence[_Turn], tools: Sequence[Json], facts: Sequence[str], dialogue_id: str
) -> Sample:
    """Makes the last of some turns a target. The turn before it is the input."""
    *history, asked, target = turns
    return Sample(
        instruction=prompts.render("toolace", tools=tools, facts=facts, history=history),
        input=f"{asked.speaker}: {asked.text}",
        output=target.text,
        source="toolace",
        domain="la",
        dialogue_id=dialogue_id,
    )


_LIST = re.compile(r"\[\s*(?=\{)")
_ABOUT_CALLS = re.compile(
    r"\b(functions?|func\w*|tools?|params?\w*|parameters?|invoke\w*)\b"
    r"|\bonly (the )?calls?\b|point (it|this|that) out|no other text|in the format of"
    r"|^should you decide",
    re.IGNORECASE,
)
_DATE_OR_TIME = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?:\d\d|\b(19|20)\d\d\b")
_FORM_OF_CALLS = re.compile(r"func\w*\s*\(", re.IGNORECASE)


def _read_system(system: str) -> tuple[Sequence[Json], Sequence[str]]:
    """Splits a system text into its JSON list of tools and the facts that it states.

    Facts are the sentences that are not about calling functions, such as the current time: targets
    need them, while the rest would contradict the format that our prompt asks for.
    """
    problem = "`system` holds no JSON list of tools"
    for opening in _LIST.finditer(system):
        try:
            tools, end = model_decoder.raw_decode(system, opening.start())
        except (ValueError, RecursionError) as error:
            problem = f"the list of tools in `system` is not JSON: {error}"
            continue
        return tools, [*_facts(system[: opening.start()]), *_facts(system[end:])]
    raise RecordError(problem)


def _facts(text: str) -> list[str]:
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text)
    facts: list[str] = []
    for sentence in (part.strip() for part in sentences):
        if not re.search(r"\w", sentence) or _FORM_OF_CALLS.search(sentence):
            continue
        if sentence.startswith(("{", "[", "<", "`")):
            continue  # an example of a call
        if _DATE_OR_TIME.search(sentence) or not _ABOUT_CALLS.search(sentence):
            facts.append(sentence)
    return facts


def _speaker(turn: Json) -> str | None:
    if not is_object(turn):
        return None
    return _SPEAKERS.get(str(turn.get("from", turn.get("role"))))


def _turn(turn: Json, tools: Mapping[str, Tool]) -> _Turn:
    """Reads one turn.

    Raises:
        _BreakError: It is empty, or holds a call that cannot be read.
    """
    speaker = _speaker(turn)
    text = turn.get("value", turn.get("content")) if speaker else None
    if speaker is None or not isinstance(text, str) or not text.strip():
        raise _BreakError("a turn has no known speaker or no text")
    text = text.strip()
    if speaker != "System":
        return _Turn(speaker, text)
    if _holds_call_beside_text(text, tools):
        return _Turn(speaker, text, "a call stands beside other text")
    if not _looks_like_calls(text, tools):
        return _Turn(speaker, text)
    made = _read_calls(text, tools)
    problems = [problem for call in made if (problem := undeclared(call, tools))]
    return _Turn(speaker, calls.to_json(made), problems[0] if problems else None)


def _counted_as(problem: str) -> str:
    """Returns the words under which the manifest counts a problem."""
    if problem.startswith("`"):  # it names a function or an argument
        return "a call of a function or an argument that is not declared"
    return problem


_CALL_SHAPES = (
    re.compile(r"\[\s*[^\[\](){}\n]+\("),  # [Get Fares(city="Oslo")]
    re.compile(r"\(\s*[^()\n|]+\|\s*\{"),  # (Get Fares|{"city": "Oslo"})
    re.compile(r"<\s*[^<>\n|]+\|\s*[<{]"),  # <Get Fares|<city|Oslo>>
    re.compile(r"<\s*/?(tool_call|function)"),  # <tool_call>{...}</tool_call>
    re.compile(r"(\[\s*)?\{\s*\"(name|function|type|tool_calls?)\""),  # {"name": "Get Fares", ...}
)


def _looks_like_calls(text: str, tools: Mapping[str, Tool]) -> bool:
    """Returns True if an assistant's turn is a call, in any notation, and not plain text."""
    inside = unfenced(text)
    if any(shape.match(inside) for shape in _CALL_SHAPES):
        return True
    bare = inside.lstrip("[(<{`'\" \t\n")
    for name in tools:
        if bare.startswith(name) and _opens_arguments(bare[len(name) :], bracketed=bare != inside):
            return True
    return False


def _opens_arguments(rest: str, *, bracketed: bool) -> bool:
    """Returns True if what follows a tool's name opens arguments, and is not a part of a sentence.

    A bare name needs `(` right behind it. After an opening bracket any notation's mark counts.
    """
    if bracketed:
        return rest.lstrip("'\"").lstrip().startswith(("(", "|", "{", "<", ":"))
    return rest.startswith("(")


def _holds_call_beside_text(text: str, tools: Mapping[str, Tool]) -> bool:
    """Returns True if a call in ToolACE's form follows plain text."""
    return any(
        text.find(opening) > 0 and not text.startswith(("[", "(", "<", "{", "`"))
        for name in tools
        for opening in (f"[{name}(", f"[{name} (")
    )


def _read_calls(text: str, tools: Mapping[str, Tool]) -> list[FunctionCall]:
    """Reads calls in ToolACE's form, as JSON, or in the notations with bars.

    Raises:
        _BreakError: They cannot be read.
    """
    inside = unfenced(text)
    declared = {name: tuple(tool.parameters) for name, tool in tools.items()}
    try:
        if inside.startswith(("{", "[{", "[ {")):
            return read_calls(inside, "the call")
        barred = _barred_calls(inside, tools)
        if barred:
            return barred
        bracketed = inside if inside.startswith("[") else f"[{inside}]"
        return calls.parse_bracket(bracketed, declared)
    except (calls.CallError, RecordError) as error:
        raise _BreakError("a call cannot be read", str(error)) from error


_ROUND = re.compile(r"[\s,]*\(\s*([^|\n]+?)\s*\|\s*(?=\{)")
_CLOSING = re.compile(r"\s*\)")
_ANGLED = re.compile(r"[\s,]*<\s*([^|<>\n]+?)\s*\|((?:[\s,]*<[^|<>]+\|[^<>]*>)*)\s*>")
_ANGLED_ARGUMENT = re.compile(r"<\s*([^|<>]+?)\s*\|([^<>]*)>")


def _barred_calls(text: str, tools: Mapping[str, Tool]) -> list[FunctionCall]:
    """Reads `(Get Fares|{"city": "Oslo"})` and `<Get Fares|<city|Oslo>>`, or lists of them.

    Returns an empty list for another notation.
    """
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    made: list[FunctionCall] = []
    at = 0
    while inside[at:].strip(" ,\n\t"):
        angled = _ANGLED.match(inside, at)
        if angled:
            name = angled.group(1)
            pairs = _ANGLED_ARGUMENT.findall(angled.group(2))
            arguments = {key: _typed(value.strip(), tools.get(name), key) for key, value in pairs}
            at = angled.end()
        else:
            opening = _ROUND.match(inside, at)
            if opening is None:
                return []
            name = opening.group(1)
            try:
                arguments, at = model_decoder.raw_decode(inside, opening.end())
            except (ValueError, RecursionError):
                return []
            closing = _CLOSING.match(inside, at)
            if closing is None:
                return []
            at = closing.end()
        made.append(calls.from_record({"name": name, "arguments": arguments}))
    return made


def _typed(text: str, tool: Tool | None, parameter: str) -> Json:
    """Reads a value that is written without quotes, by the type that the tool declares."""
    described = tool.parameters.get(parameter) if tool else None
    kind = str(described.get("type")) if is_object(described) else "string"
    if kind.startswith("str"):
        return text
    try:
        return loads(text)
    except ValueError:
        return text
