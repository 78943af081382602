"""Reads a dialogue written in the output format of Table 6."""

import re
from collections.abc import Mapping, Sequence

from coalm_oumi import calls
from coalm_oumi.calls import CallError, FunctionCall
from coalm_oumi.cra.dialogue import ApiStep, CraTurn
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import dumps

_FIELDS = ("User", "Thought1", "API Name", "API Input", "API Result", "Thought2", "System")
_API = _FIELDS[2:6]
_FIELD = re.compile(rf"^(Thought|{'|'.join(_FIELDS)}):[ \t]*", re.MULTILINE)


class TranscriptError(CoalmError):
    """Text that does not keep to the format of Table 6."""


def parse(text: str) -> list[CraTurn]:
    """Reads every turn of a transcript.

    Args:
        text: `User/Thought1/API Name/API Input/API Result/Thought2/System` and
            `User/Thought/System` blocks.

    Returns:
        The turns, at least one.

    Raises:
        TranscriptError: A field is missing, repeated or out of place, or a call is not one.
    """
    marks = list(_FIELD.finditer(text))
    if not marks:
        raise TranscriptError("no `User:` line, so nothing to read")
    if text[: marks[0].start()].strip():
        raise TranscriptError("text before the first field")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    blocks: list[dict[str, str]] = []
    for mark, end in zip(marks, ends, strict=True):
        name = mark.group(1)
        if name == "User":
            blocks.append({})
        elif not blocks:
            raise TranscriptError(f"`{name}:` before the first `User:`")
        if name in blocks[-1]:
            raise TranscriptError(f"turn {len(blocks)}: `{name}:` occurs twice")
        blocks[-1][name] = text[mark.end() : end].strip()
    return [_turn(block, number) for number, block in enumerate(blocks, start=1)]


def _turn(block: Mapping[str, str], number: int) -> CraTurn:
    has_api = any(name in block for name in _API)
    thought = "Thought1" if has_api else "Thought"
    _require(block, ("User", thought, *(_API if has_api else ()), "System"), number)
    api = None
    if has_api:
        api = ApiStep(
            call=_call(block["API Name"], block["API Input"], number),
            observation=_observation(block["API Result"]),
            thought=block["Thought2"],
        )
    return CraTurn(block["User"], block[thought], api, block["System"])


def _require(block: Mapping[str, str], order: Sequence[str], number: int) -> None:
    for name in order:
        if not block.get(name):
            raise TranscriptError(f"turn {number}: `{name}:` is missing or empty")
    if tuple(block) != tuple(order):
        raise TranscriptError(f"turn {number}: expected the fields {', '.join(order)}, in order")


def _call(name: str, text: str, number: int) -> FunctionCall:
    # The prompt's own example leaves out the braces around the input.
    body = text if text.startswith("{") else f"{{{text}}}"
    try:
        arguments = calls.parse_literal(body)
        return FunctionCall(name.removesuffix("()"), arguments)
    except CallError as error:
        raise TranscriptError(f"turn {number}: API Input: {error}") from error


def _observation(text: str) -> str:
    """Writes a result as JSON where it can be read, else leaves it as it is."""
    for body in (text, f"{{{text}}}"):
        try:
            return dumps(calls.parse_literal(body))
        except CallError:
            continue
    return text
