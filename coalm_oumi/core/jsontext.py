"""JSON text as this project reads and writes it: UTF-8, no NaN, one error type."""

import json
import re
from typing import Any, NoReturn

_FENCE = re.compile(r"```[ \t]*[A-Za-z]*")

# What json.loads returns. A recursive alias would not help the type checker here.
Json = Any


def dumps(value: Json) -> str:
    """Writes a value on one line, with non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def no_constant(name: str) -> NoReturn:
    """Refuses NaN and Infinity, which `json` reads and JSON does not know."""
    raise ValueError(f"{name} is not JSON")


def loads(text: str) -> Json:
    """Reads JSON text.

    Raises:
        ValueError: Not JSON, NaN or Infinity, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def unfenced(text: str) -> str:
    """Returns what stands in a Markdown code fence, where the whole text is one."""
    inside = text.strip()
    opening = _FENCE.match(inside)
    if opening is None or not inside.endswith("```") or len(inside) < opening.end() + 3:
        return text
    return inside[opening.end() : -3].strip()
