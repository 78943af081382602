"""JSON text as this project reads and writes it: UTF-8, no NaN, one error type."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias, TypeGuard

_FENCE = re.compile(r"```[ \t]*[A-Za-z]*")

Json = Any
"""What `json.loads` returns, for code that checks each part of it."""

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
"""Any JSON, for code in which the type checker should check every use of it."""


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """Returns True if a value is a JSON object; the type checker then knows its keys as text."""
    return isinstance(value, dict)


def is_list(value: Json) -> TypeGuard[list[Json]]:
    """Returns True if a value is a JSON list."""
    return isinstance(value, list)


def leaves(value: Json) -> Iterator[Json]:
    """Yields what a value holds that is neither an object nor a list, in the order of its text."""
    stack = [value]
    while stack:
        item = stack.pop()
        if is_object(item):
            stack += reversed(item.values())
        elif is_list(item):
            stack += reversed(item)
        else:
            yield item


def dumps(value: Json) -> str:
    """Writes a value on one line, with non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def no_constant(name: str) -> NoReturn:
    """Refuses NaN and Infinity, which `json` reads and JSON does not know."""
    raise ValueError(f"{name} is not JSON")


def loads(text: str) -> Json:
    """Reads JSON text.

    Raises:
        ValueError: Not JSON, NaN or Infinity (`1e999` too), or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=no_constant, parse_float=finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


MAX_DEPTH = 100
"""The most levels of a model's JSON. Deeper text is an error, not a stack overflow."""


def loads_model(text: str) -> Json:
    """Reads JSON that a model or a server wrote: the one reader for untrusted text.

    The result can safely be written as JSON again, copied and compared.

    Raises:
        ValueError: Not JSON, NaN or Infinity (`1e999` too), or nested deeper than `MAX_DEPTH`.
    """
    value = loads(text)
    if nests_deeper(text, value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def finite(text: str) -> float:
    """Reads a number with a fraction or an exponent.

    Raises:
        ValueError: The number is out of range, as 1e999 is.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


model_decoder = json.JSONDecoder(parse_constant=no_constant, parse_float=finite)
"""Reads JSON from the middle of text that a model wrote. Its caller bounds the depth."""


def is_deeper(value: Json, levels: int) -> bool:
    """Returns True if lists and objects are nested deeper. A plain value has no level."""
    layer = [value]
    for _ in range(levels):
        inner: list[Json] = []
        for item in layer:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        layer = inner
    return any(isinstance(item, dict | list) for item in layer)


def nests_deeper(text: str, value: Json, levels: int) -> bool:
    """Returns what `is_deeper` does for a value that a text gave.

    Only text with that many brackets can nest so deeply; most values are not walked at all.
    """
    return text.count("{") + text.count("[") > levels and is_deeper(value, levels)


def unfenced(text: str) -> str:
    """Returns the content of a Markdown code fence if the whole text is one."""
    inside = text.strip()
    opening = _FENCE.match(inside)
    if opening is None or not inside.endswith("```") or len(inside) < opening.end() + 3:
        return text
    return inside[opening.end() : -3].strip()
