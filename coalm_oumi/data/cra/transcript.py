"""Reads and writes dialogues in the output format of Table 6.

The reader tolerates how models decorate that format, but its result is strict: a dialogue whose
every turn has every field, in order, with a valid call.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, is_object, unfenced
from coalm_oumi.data.cra.dialogue import ApiStep, CraTurn
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall

_WITH_API = ("User", "Thought1", "API Name", "API Input", "API Result", "Thought2", "System")
_WITHOUT_API = ("User", "Thought", "System")

# A field's name, with the list marks, numbers and bold that models put around it:
# `2. **Thought 1:** ...`, `### API Input Arguments: ...`.
_FIELD = re.compile(
    r"^[ \t]*(?:(?:[-*+>]|\#{1,6}|\d{1,3}[.)])[ \t]+){0,3}(?P<bold>\*\*|__)?"
    r"(?:(?P<User>User(?:[ ]Input)?)|(?P<Thought>Thought)|(?P<System>System(?:[ ]Response)?)"
    r"|(?P<Name>API(?:[ ]Call)?(?:[ ]Name)?)|(?P<Input>API[ ]Input(?:[ ]Arguments)?)"
    r"|(?P<Result>API[ ]Result))"
    r"[ ]?\d{0,3}(?P<close>\*\*|__)?[ \t]*:(?(bold)(?P<closed>\*\*|__)?)[ \t]*",
    re.MULTILINE,
)
_NAMES = {"Name": "API Name", "Input": "API Input", "Result": "API Result"}

# Separators of dialogues and turns, on a separate line.
_DIALOGUE = re.compile(
    r"^[ \t]*(?:\#{1,6}[ \t]+|\*\*)?(?:Dialogue|Conversation)[ ]?\#?\d{0,6}[:.]?(?:\*\*)?:?[ \t]*$",
    re.MULTILINE,
)
_RULE = re.compile(
    r"[ \t]*(?:(?:\#{1,6}[ \t]+|\*\*)?Turn[ ]?\#?\d{1,6}[:.]?(?:\*\*)?:?|-{3,}|\*{3,}|_{3,}|={3,})"
    r"[ \t]*"
)
_FENCE = re.compile(r"[ \t]*```[\w-]*[ \t]*")

_FUNCTION = re.compile(r"[`*\"']*(?P<name>[A-Za-z_][\w.-]*)[ \t]*(?:\(.*\))?[`*\"']*", re.DOTALL)
_CALL = re.compile(r"(?:[A-Za-z_][\w.-]*)?[ ]?\((?P<inside>.*)\)", re.DOTALL)
_KEY = re.compile(
    # No newline in the space before a key: otherwise each of many newlines would scan all the rest.
    r"(?:^|,|\n)[ \t\r\f\v]*(?:[-*+][ \t]+)?"
    r"(?P<quote>[\"'`]?)(?P<key>[A-Za-z_][\w.-]*)(?P=quote)\s*[:=]"
)
_NOTHING = {"", "none", "n/a", "null", "{}", "()", "[]", "-"}


class TranscriptError(CoalmError):
    """Text that is not in the format of Table 6.

    Attributes:
        turn: The turn's number, from 1; None if the fault belongs to no turn.
        start: The first character of the fault in the text.
        end: The character after its last.
    """

    def __init__(self, message: str, *, start: int, end: int, turn: int | None = None) -> None:
        """Names what is wrong, and where."""
        super().__init__(message if turn is None else f"turn {turn}: {message}")
        self.turn, self.start, self.end = turn, start, end


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a turn, and the place of its value.

    Attributes:
        name: The name in Table 6; `Thought` for all thoughts.
        text: The value.
        start: The value's first character in the transcript.
        end: The character after its last.
    """

    name: str
    text: str
    start: int
    end: int


def read(file: Path) -> Mapping[str, str]:
    """Reads the texts of recorded transcripts, by dialogue id.

    Args:
        file: JSON Lines of `{dialogue_id, text}`.

    Raises:
        CoalmError: No such file, or a line is something else.
    """
    texts: dict[str, str] = {}
    for number, record in read_jsonl(file):
        if not is_object(record) or not all(
            isinstance(record.get(name), str) for name in ("dialogue_id", "text")
        ):
            raise CoalmError(f"{file}:{number}: expected the text fields dialogue_id and text")
        texts[record["dialogue_id"]] = record["text"]
    return texts


def parse(text: str) -> list[CraTurn]:
    """Reads every turn of a transcript of one dialogue.

    Args:
        text: `User/Thought1/API Name/API Input/API Result/Thought2/System` and
            `User/Thought/System` blocks.

    Returns:
        The turns, at least one.

    Raises:
        TranscriptError: A field is missing, repeated or out of place, a call is not one, or there
            are several dialogues.
    """
    dialogues = parse_all(text)
    if len(dialogues) > 1:
        message = f"holds {len(dialogues)} dialogues, expected one"
        raise TranscriptError(message, start=0, end=len(text))
    return dialogues[0]


def parse_all(text: str) -> list[list[CraTurn]]:
    """Reads every dialogue of a text. Headings such as `Dialogue 2:` separate several.

    Raises:
        TranscriptError: As for `parse`, except for several dialogues.
    """
    return [
        [_turn(block, number) for number, block in enumerate(blocks, start=1)]
        for blocks in _dialogues(text)
    ]


def parse_fields(text: str) -> list[list[Field]]:
    """Reads the fields of each turn of one dialogue, with their places.

    Raises:
        TranscriptError: As for `parse`, except for the content of fields.
    """
    blocks = [block for blocks in _dialogues(text) for block in blocks]
    for number, block in enumerate(blocks, start=1):
        _check(block, number)
    return blocks


def write(turns: Iterable[CraTurn]) -> str:
    """Writes turns in the format of Table 6. `parse` reads them back."""
    return "\n\n".join("\n".join(_lines(turn)) for turn in turns)


def _lines(turn: CraTurn) -> list[str]:
    if turn.api is None:
        return [f"User: {turn.user}", f"Thought: {turn.thought}", f"System: {turn.system}"]
    return [
        f"User: {turn.user}",
        f"Thought1: {turn.thought}",
        f"API Name: {turn.api.call.name}",
        f"API Input: {dumps(dict(turn.api.call.arguments))}",
        f"API Result: {turn.api.observation}",
        f"Thought2: {turn.api.thought}",
        f"System: {turn.system}",
    ]


def _dialogues(text: str) -> list[list[list[Field]]]:
    """Cuts a text into dialogues, turns and fields."""
    heads = [head.start() for head in _DIALOGUE.finditer(text)]
    dialogues: list[list[list[Field]]] = []
    for start, end in zip([0, *heads], [*heads, len(text)], strict=True):
        heading = _DIALOGUE.match(text, start)
        body = heading.end() if heading else start
        marks = list(_FIELD.finditer(text, body, end))
        before = text[body : marks[0].start() if marks else end]
        if marks or start:
            _check_preamble(before, body)
        if marks:
            dialogues.append(_blocks(text, marks, end))
    if not dialogues:
        raise TranscriptError("no `User:` line, so nothing to read", start=0, end=len(text))
    return dialogues


def _check_preamble(text: str, start: int) -> None:
    for line in text.splitlines():
        announcing = line.rstrip(" *").endswith(":")
        if line.strip() and not (announcing or _RULE.fullmatch(line) or _FENCE.fullmatch(line)):
            raise TranscriptError("text before the first field", start=start, end=start + len(text))


def _blocks(text: str, marks: Sequence[re.Match[str]], end: int) -> list[list[Field]]:
    ends = [mark.start() for mark in marks[1:]] + [end]
    blocks: list[list[Field]] = []
    for mark, stop in zip(marks, ends, strict=True):
        group = next(name for name in ("User", "Thought", "System", *_NAMES) if mark[name])
        field = _field(_NAMES.get(group, group), mark, text[mark.end() : stop])
        if field.name == "User":
            blocks.append([])
        elif not blocks:
            message = f"`{field.name}:` before the first `User:`"
            raise TranscriptError(message, start=field.start, end=field.end)
        blocks[-1].append(field)
    return blocks


def _field(name: str, mark: re.Match[str], raw: str) -> Field:
    lines = raw.split("\n")
    while len(lines) > 1 and _is_noise(lines[-1].strip(), lines):
        lines.pop()
    kept = "\n".join(lines)
    if mark["bold"] and not (mark["close"] or mark["closed"]):
        kept = kept.rstrip().removesuffix(mark["bold"])  # the whole line was bold
    text = kept.strip()
    start = mark.end() + len(kept) - len(kept.lstrip())
    return Field(name, text, start, start + len(text))


def _is_noise(line: str, lines: Sequence[str]) -> bool:
    if _FENCE.fullmatch(line):  # the fence around a whole answer ends in its last field
        return sum(bool(_FENCE.fullmatch(other.strip())) for other in lines) == 1
    return not line or bool(_RULE.fullmatch(line))


def _check(block: Sequence[Field], number: int) -> Sequence[str]:
    """Returns the names of a turn's fields, after checking that all are present and in order."""
    names = [field.name for field in block]
    order = _WITH_API if any(name.startswith("API") for name in names) else _WITHOUT_API
    wanted = [name.rstrip("12") for name in order]
    start, end = block[0].start, block[-1].end
    for name in dict.fromkeys(names):
        if names.count(name) > wanted.count(name):
            raise TranscriptError(f"`{name}:` occurs twice", turn=number, start=start, end=end)
    filled = [field.name for field in block if field.text]
    if len(filled) < len(wanted):
        rest = iter([*filled, ""])
        following = next(rest)
        for label, name in zip(order, wanted, strict=True):
            if name != following:
                raise TranscriptError(
                    f"`{label}:` is missing or empty", turn=number, start=start, end=end
                )
            following = next(rest)
    if names != wanted:
        raise TranscriptError(
            f"expected the fields {', '.join(order)}, in order", turn=number, start=start, end=end
        )
    return order


def _turn(block: Sequence[Field], number: int) -> CraTurn:
    if _check(block, number) is _WITHOUT_API:
        user, thought, system = (field.text for field in block)
        return CraTurn(user, thought, None, system)
    user, thought, name, arguments, result, second, system = block
    return CraTurn(
        user=user.text,
        thought=thought.text,
        api=ApiStep(
            call=FunctionCall(_name(name, number), _arguments(arguments, number)),
            observation=_observation(result.text),
            thought=second.text,
        ),
        system=system.text,
    )


def _name(field: Field, number: int) -> str:
    match = _FUNCTION.fullmatch(field.text)
    if match is None or match["name"].lower() in _NOTHING:
        raise TranscriptError(
            "API Name: expected one function's name", turn=number, start=field.start, end=field.end
        )
    return match["name"]


def _arguments(field: Field, number: int) -> Mapping[str, Json]:
    text = unfenced(field.text).strip()
    called = _CALL.fullmatch(text)
    text = called["inside"].strip() if called else text
    if text.lower() in _NOTHING:
        return {}
    # The example in the prompt leaves out the braces around the input.
    for body in (text, f"{{{text}}}"):
        try:
            value = calls.parse_literal(body)
        except CallError:
            continue
        if is_object(value):
            return value
    try:
        return calls.parse_python(f"f({text})").arguments
    except CallError:
        pass
    try:
        return _loose(text)
    except CallError as error:
        raise TranscriptError(
            f"API Input: {error}", turn=number, start=field.start, end=field.end
        ) from error


def _loose(text: str) -> Mapping[str, Json]:
    """Reads `'name': Don and Sherri, count: 2`, without quotes as in the prompt's example."""
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    keys = list(_KEY.finditer(text))
    if not keys or keys[0].start() > 0:
        raise CallError("expected `name: value` pairs")
    arguments: dict[str, Json] = {}
    for key, end in zip(keys, [*(key.start() for key in keys[1:]), len(text)], strict=True):
        if key["key"] in arguments:
            raise CallError(f"`{key['key']}` is given twice")
        arguments[key["key"]] = _loose_value(key["key"], text[key.end() : end].strip(" \t\r\n,;"))
    return arguments


def _loose_value(name: str, text: str) -> Json:
    try:
        value = calls.parse_literal(text)
    except CallError:
        if not text or "\n" in text or re.search(r"[{}\[\]()\"`]|^'|'$|\w\s*[:=]\s*'", text):
            raise CallError(f"the value of `{name}` cannot be read: {text[:40]!r}") from None
        return text
    # `007` and `1.50` are names of things, not numbers.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return text if is_number and str(value) != text else value


def _observation(text: str) -> str:
    """Writes a result as JSON if it can be read, and otherwise leaves it as it is."""
    content = unfenced(text).strip()
    for body in (content, f"{{{content}}}"):
        try:
            return dumps(calls.parse_literal(body))
        except CallError:
            continue
    return text
