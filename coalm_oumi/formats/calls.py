"""`FunctionCall` and its written forms: parse and format.

Every text here may come from a model, so it is read by a small parser and never evaluated.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import (
    Json,
    dumps,
    is_deeper,
    is_list,
    is_object,
    loads_model,
    unfenced,
)

_T = TypeVar("_T")

MAX_DEPTH = 64
"""The deepest nesting of values. No benchmark has deeper ones, and recursion is limited."""

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_MAX_DIGITS = 4000
_FUNCTION_NAME = re.compile(r"[^()\[\]{}\"\n,=]+")
_ARGUMENT_NAME = re.compile(r"[^()\[\]{}\"'\n,=]+")
_WORD = re.compile(r"[A-Za-z]+")
_CONSTANTS: Mapping[str, Json] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


class CallError(CoalmError):
    """Text that is not a function call in the expected form."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """One call of one function.

    Two calls are equal if their names and arguments are, in any order.

    Attributes:
        name: The function's name, including spaces and dots.
        arguments: The JSON value of each argument.
    """

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def __post_init__(self) -> None:
        """Refuses an empty name."""
        if not self.name.strip():
            raise CallError("a call has no function name")

    def as_record(self) -> dict[str, Json]:
        """Returns the call as a record of Figure 5."""
        return {"name": self.name, "arguments": dict(self.arguments)}


def to_json(calls: Sequence[FunctionCall]) -> str:
    """Writes calls as the JSON list of Figure 5, `[]` for none."""
    return dumps([call.as_record() for call in calls])


def to_python(call: FunctionCall) -> str:
    """Writes one call as the `Action` of Figure 6: `FindBus(leaving_date='today')`."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


def parse_json(text: str) -> list[FunctionCall]:
    """Reads the form of `to_json`. A bare call and a Markdown fence are accepted too.

    Raises:
        CallError: The text is something else.
    """
    try:
        value = loads_model(unfenced(text))
    except ValueError as error:
        raise CallError(f"not a JSON list of calls: {error}") from error
    records = [value] if is_object(value) else value
    if not is_list(records):
        raise CallError(f"expected a JSON list of calls, found {type(value).__name__}")
    return [from_record(record) for record in records]


def from_record(record: Json) -> FunctionCall:
    """Reads one call from `{"name": ..., "arguments": {...}}`.

    Raises:
        CallError: The record is something else.
    """
    if not is_object(record):
        raise CallError(f"expected a call as an object, found {type(record).__name__}")
    name, arguments = record.get("name"), record.get("arguments", {})
    if not isinstance(name, str):
        raise CallError("a call has no text field `name`")
    if not is_object(arguments):
        raise CallError(f"the arguments of `{name}` are not an object")
    if is_deeper(arguments, MAX_DEPTH):
        raise CallError(f"the arguments of `{name}` are nested deeper than {MAX_DEPTH} levels")
    return FunctionCall(name, arguments)


def from_any_record(record: Json) -> FunctionCall:
    """Reads one call as chat templates and APIs write it.

    OpenAI's API wraps it in `function`. `parameters` may stand for `arguments`, which may be an
    object, the same as JSON text, or null.

    Raises:
        CallError: The record is something else.
    """
    if not is_object(record):
        return from_record(record)
    if is_object(record.get("function")):
        record = record["function"]
    arguments = record.get("arguments", record.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = loads_model(arguments) if arguments.strip() else None
        except ValueError as error:
            raise CallError(f"the arguments are not JSON: {error}") from error
    return from_record(
        {"name": record.get("name"), "arguments": {} if arguments is None else arguments}
    )


def parse_python(text: str) -> FunctionCall:
    """Reads the form of `to_python`. Values may be Python or JSON literals.

    Raises:
        CallError: The text is something else.
    """
    reader = _Reader(text)
    call = reader.call()
    reader.end()
    return call


def parse_bracket(
    text: str, declared: Mapping[str, Collection[str]] | None = None
) -> list[FunctionCall]:
    """Reads ToolACE's form, `[Market Trends API(country="us"), now()]`.

    Args:
        text: The calls.
        declared: The arguments of each declared function. These names may contain brackets, commas
            and quotes, and the longest one that fits is read.

    Raises:
        CallError: The text is something else.
    """
    reader = _Reader(text, declared)
    reader.expect("[")
    calls = reader.until("]", reader.call)
    reader.end()
    return calls


def parse_literal(text: str) -> Json:
    """Reads one value written as JSON or as a Python literal.

    Raises:
        CallError: The text is something else.
    """
    reader = _Reader(text)
    value = reader.value()
    reader.end()
    return value


def call_at(text: str, start: int) -> FunctionCall:
    """Reads one call in the form of `to_python` from the middle of a text.

    Raises:
        CallError: No call starts there.
    """
    return _Reader(text, start=start).call()


def literal_at(text: str, start: int) -> tuple[Json, int]:
    """Reads one value from the middle of a text, as `parse_literal` does.

    Returns:
        The value, and the place of the character after it.

    Raises:
        CallError: No value starts there.
    """
    reader = _Reader(text, start=start)
    value = reader.value()
    return value, reader.place


class _Reader:
    """A cursor over one text. Each method reads one thing and moves past it."""

    def __init__(
        self,
        text: str,
        declared: Mapping[str, Collection[str]] | None = None,
        start: int = 0,
    ) -> None:
        self._text = text
        self._declared = declared or {}
        self._at = start
        self._depth = 0

    @property
    def place(self) -> int:
        return self._at

    def fail(self, expected: str) -> NoReturn:
        found = self._text[self._at : self._at + 20]
        raise CallError(
            f"expected {expected} at character {self._at}, found "
            + (repr(found) if found else "the end")
        )

    def peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def expect(self, mark: str) -> None:
        if self.peek() != mark:
            self.fail(f"`{mark}`")
        self._at += 1

    def end(self) -> None:
        if self.peek():
            self.fail("the end")

    def match(self, pattern: re.Pattern[str], expected: str) -> str:
        self.peek()
        match = pattern.match(self._text, self._at)
        if match is None or not match.group().strip():
            self.fail(expected)
        self._at = match.end()
        return match.group().strip()

    def until(self, close: str, item: Callable[[], _T]) -> list[_T]:
        """Reads items separated by commas up to the closing mark. A trailing comma is allowed."""
        items: list[_T] = []
        while self.peek() != close:
            items.append(item())
            if self.peek() != close:
                self.expect(",")
        self.expect(close)
        return items

    def call(self) -> FunctionCall:
        name = self._longest(self._declared, before="(")
        if name is None:
            name = self.match(_FUNCTION_NAME, "a function name")
        self.expect("(")
        known = self._declared.get(name, ())
        arguments = self.until(")", lambda: self._argument(known))
        return FunctionCall(name, self._unique(arguments))

    def _argument(self, known: Collection[str]) -> tuple[str, Json]:
        name = self._longest(known, before="=")
        if name is None:
            name = self.match(_ARGUMENT_NAME, "an argument name")
        self.expect("=")
        return name, self.value()

    def _longest(self, names: Collection[str], *, before: str) -> str | None:
        """Reads the longest of the given names that is here, before a mark."""
        self.peek()
        for name in sorted(names, key=len, reverse=True):
            if not name or not self._text.startswith(name, self._at):
                continue
            end = self._at + len(name)
            if self._text[end:].lstrip().startswith(before):
                self._at = end
                return name
        return None

    def _unique(self, pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
        values = dict(pairs)
        if len(values) != len(pairs):
            self.fail("each name once")
        return values

    def value(self) -> Json:
        mark = self.peek()
        if mark in ("'", '"'):
            return self._string(mark)
        if mark in ("[", "(", "{"):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise CallError(f"nested deeper than {MAX_DEPTH} levels")
            self._at += 1
            value = self._container(mark)
            self._depth -= 1
            return value
        if mark and (mark.isdigit() or mark in "+-."):
            return self._number()
        word = self.match(_WORD, "a value")
        if word not in _CONSTANTS:
            self._at -= len(word)
            self.fail("a value")
        return _CONSTANTS[word]

    def _container(self, mark: str) -> Json:
        if mark == "[":
            return self.until("]", self.value)
        if mark == "(":
            return self.until(")", self.value)
        return self._unique(self.until("}", self._item))

    def _item(self) -> tuple[str, Json]:
        key = self.value()
        if not isinstance(key, str):
            self.fail("text as a key")
        self.expect(":")
        return key, self.value()

    def _number(self) -> int | float:
        text = self.match(_NUMBER, "a number")
        if len(text) > _MAX_DIGITS:
            raise CallError("a number has too many digits")
        if re.fullmatch(r"[-+]?\d+", text):
            return int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise CallError(f"the number {text} is out of range")
        return number

    def _string(self, quote: str) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            char = self._text[self._at : self._at + 1]
            if not char:
                self.fail(f"a closing {quote}")
            self._at += 1
            if char == quote:
                return _joined("".join(parts))
            parts.append(self._escape() if char == "\\" else char)

    def _escape(self) -> str:
        char = self._text[self._at : self._at + 1]
        if not char:
            self.fail("an escaped character")
        self._at += 1
        if char in _HEX_DIGITS:
            digits = self._text[self._at : self._at + _HEX_DIGITS[char]]
            code = int(digits, 16) if re.fullmatch(r"[0-9a-fA-F]+", digits) else sys.maxunicode + 1
            if len(digits) == _HEX_DIGITS[char] and code <= sys.maxunicode:
                self._at += len(digits)
                return chr(code)
        if char in _ESCAPES:
            return _ESCAPES[char]
        # As in Python, an unknown escape keeps its backslash.
        return char if char in "\\'\"/" else f"\\{char}"


def _joined(text: str) -> str:
    """Joins surrogate pairs that JSON escaped, and replaces single halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
