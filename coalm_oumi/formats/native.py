"""Reads tool calls in a model's text, in the forms of the common chat templates.

The text may come from any model, so it is read in one pass and never evaluated. The forms:

| written by | form |
| --- | --- |
| engines that parse calls | `[{"name": "f", "arguments": {...}}]`, OpenAI's `{"function": {...}}` |
| Hermes, Qwen | `<tool_call>{"name": "f", "arguments": {...}}</tool_call>` |
| Qwen3-Coder | `<tool_call><function=f><parameter=x>1</parameter></function></tool_call>` |
| Llama 3 | `<|python_tag|>{"name": "f", "parameters": {...}}; {...}` |
| Llama 3 | `<function=f>{...}</function>` |
| Mistral | `[TOOL_CALLS] [{"name": "f", ...}]`, `[TOOL_CALLS]f[ARGS]{...}` |
| Granite | `<function_call> {"name": "f", ...}`; the name `no_function` means no call |
| xLAM | `{"tool_calls": [{"name": "f", ...}]}` |

Prose, code fences and `<think>` sections around the calls are skipped.
"""

import re
from collections.abc import Sequence
from typing import NoReturn

from coalm_oumi.core.jsontext import (
    Json,
    is_list,
    is_object,
    loads_model,
    model_decoder,
    unfenced,
)
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall

MAX_LENGTH = 1_000_000
"""The most characters of an answer. Longer ones are refused."""

NO_FUNCTION = "no_function"
"""Granite calls this function if it calls none."""

MARKS = re.compile(
    r"<tool_call>|<function_call>|<\|python_tag\|>|\[TOOL_CALLS\]|<function=[^\s<>]+>"
)
"""The marks before a call."""

_NEXT = re.compile(rf"{MARKS.pattern}|</?think>|[\[{{]")
_THINK, _END_OF_THINKING = "<think>", "</think>"

# Prose and code contain brackets too. These patterns match the start of a likely call: a key that
# calls have. Only then is the rest decoded.
_KEY = r"[\"'](?:name|function|arguments|parameters|tool_calls|type|id)[\"']\s*:"
_LOOKS_LIKE_CALLS = re.compile(rf"(?:\[\s*)?\{{\s*{_KEY}")

_MISTRAL_NAME = re.compile(r"\s*([^\s\[\]{}]+)\s*(?:\[CALL_ID\][^\s\[\]{}]*\s*)?\[ARGS\]\s*")
_FUNCTION = re.compile(r"<function=([^\s<>]+)>\s*")
_PARAMETER = re.compile(r"<parameter=([^<>]+)>")
_END_OF_PARAMETER = "</parameter>"
_SPACE = re.compile(r"\s*")
_MAX_FAILURES = 16  # keeps the time linear in the length of the text
_LITERALS = {"True": True, "False": False, "None": None}


def read_native(text: str) -> list[FunctionCall]:
    """Reads the calls that an engine returned, or that a model left in its text.

    A mark inside a value is part of the value. Arguments may be an object, the same as JSON text,
    or null.

    Returns:
        The calls in their order. The list is empty if the model wrote an empty list, or called
        `no_function`.

    Raises:
        CallError: The text holds no calls, or a call in it cannot be read.
    """
    if len(text) > MAX_LENGTH:
        raise CallError(f"an answer of {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    try:
        whole = loads_model(unfenced(text))
    except ValueError:
        records = _Scanner(text).records()
    else:
        records = _records_of_whole(whole)
    found = [calls.from_any_record(_named(record)) for record in records]
    return [call for call in found if call.name != NO_FUNCTION]


def looks_like_a_call(text: str) -> bool:
    """Returns True if a text holds a mark of tool calls, or JSON with the keys of a call."""
    return bool(MARKS.search(text) or _LOOKS_LIKE_CALLS.search(text))


def _records_of_whole(value: Json) -> list[Json]:
    """Returns the calls of an answer that is one JSON value."""
    if is_object(value) and is_list(value.get("tool_calls")):
        return value["tool_calls"]
    records = value if is_list(value) else [value]
    if not all(is_object(record) for record in records):
        raise CallError("expected calls as objects")
    return records


def _records_in_text(value: Json) -> list[Json] | None:
    """Returns the calls in a value in the middle of a text, or None."""
    if is_object(value) and is_list(value.get("tool_calls")):
        return value["tool_calls"]
    records = value if is_list(value) else [value]
    return records if all(map(_is_call, records)) else None


def _is_call(record: Json) -> bool:
    if not is_object(record):
        return False
    has_arguments = "arguments" in record or "parameters" in record
    return is_object(record.get("function")) or (
        has_arguments and ("name" in record or "function" in record)
    )


def _named(record: Json) -> Json:
    """Returns a call under `name`, also where a model writes that as `function`."""
    if is_object(record) and isinstance(record.get("function"), str) and "name" not in record:
        return {**record, "name": record["function"]}
    return record


class _Scanner:
    """Finds the calls in a text from left to right. Each character is read a few times at most."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def records(self) -> list[Json]:
        """Returns the calls.

        Raises:
            CallError: There is no call, or one cannot be read.
        """
        found: list[Json] = []
        failures = 0
        while match := _NEXT.search(self._text, self._at):
            mark = match.group()
            self._at = match.start()
            if mark == _THINK:
                self._skip_thinking()
            elif mark == _END_OF_THINKING:
                # The prompt opened the section, so the model was thinking up to here.
                found = []
                self._at = match.end()
            else:
                try:
                    found += self._unmarked() if mark in ("{", "[") else self._marked(mark)
                except CallError:
                    # A thought may mention a call in passing. What follows it counts.
                    end = self._text.find(_END_OF_THINKING, match.start())
                    failures += 1
                    if end < 0 or failures > _MAX_FAILURES:
                        raise
                    found = []
                    self._at = end + len(_END_OF_THINKING)
        if not found:
            raise CallError("no tool calls")
        return found

    def _skip_thinking(self) -> None:
        end = self._text.find(_END_OF_THINKING, self._at)
        self._at = len(self._text) if end < 0 else end + len(_END_OF_THINKING)

    def _unmarked(self) -> list[Json]:
        """Reads a likely call without a mark, or moves past its bracket."""
        if not _LOOKS_LIKE_CALLS.match(self._text, self._at):
            self._at += 1
            return []
        return _records_in_text(self._value()) or []

    def _marked(self, mark: str) -> list[Json]:
        if mark.startswith("<function="):
            return [self._function()]
        self._at += len(mark)
        self._space()
        if mark == "[TOOL_CALLS]" and (match := _MISTRAL_NAME.match(self._text, self._at)):
            self._at = match.end()
            return [{"name": match.group(1), "arguments": self._value()}]
        if _FUNCTION.match(self._text, self._at):  # in the `<tool_call>` of Qwen3-Coder
            return [self._function()]
        return _records_of_whole(self._value())

    def _function(self) -> Json:
        """Reads `<function=f>` with JSON or with parameters, up to its end."""
        match = _FUNCTION.match(self._text, self._at)
        if match is None:
            self._fail("a function's name")
        self._at = match.end()
        name = match.group(1)
        if self._text.startswith("{", self._at):
            return {"name": name, "arguments": self._value()}
        arguments: dict[str, Json] = {}
        while parameter := _PARAMETER.match(self._text, self._at):
            key = parameter.group(1).strip()
            end = self._text.find(_END_OF_PARAMETER, parameter.end())
            if end < 0:
                self._fail(f"the end of the parameter `{key}`")
            if key in arguments:
                self._fail(f"the parameter `{key}` once")
            arguments[key] = _typed(self._text[parameter.end() : end])
            self._at = end + len(_END_OF_PARAMETER)
            self._space()
        if not self._text.startswith("</function>", self._at):
            self._fail("`</function>`")
        return {"name": name, "arguments": arguments}

    def _value(self) -> Json:
        """Reads one value: JSON, or the same as Python writes it."""
        try:
            value, self._at = model_decoder.raw_decode(self._text, self._at)
        except RecursionError as error:
            raise CallError("nested too deeply") from error
        except ValueError:
            value, self._at = calls.literal_at(self._text, self._at)
        return value

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _fail(self, expected: str) -> NoReturn:
        raise CallError(f"expected {expected} at character {self._at}")


def _typed(text: str) -> Json:
    """Returns the value of a parameter that is written without quotes.

    Text that reads as a number, a truth value, null, a list or an object is one; other text stays
    text. One line break on either side belongs to the template.
    """
    text = text.removeprefix("\n").removesuffix("\n")
    if text.strip() in _LITERALS:
        return _LITERALS[text.strip()]
    try:
        value = loads_model(text)
    except ValueError:
        return text
    return text if isinstance(value, str) else value


def to_json(found: Sequence[FunctionCall]) -> str:
    """Writes calls as Figure 5's list, for decoders that delete every code fence in the text.

    Backticks occur only inside JSON strings, so an escape preserves them.
    """
    return calls.to_json(found).replace("```", r"\u0060\u0060\u0060")
