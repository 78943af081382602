"""Wrong values for every key of a recipe: each is one clear error, or it is no wrong value."""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from coalm_oumi.core.errors import CoalmError

Place = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

VALUES: Sequence[Any] = (
    "", "soon", "0.5", True, None, [], {}, -1, -0.5, 0, math.nan, math.inf, 10**30, [[1]], ["soon"],
    {"x": 1},
)  # fmt: skip


def wrong(content: Any) -> Iterator[tuple[Place, Any, Any]]:
    """Yields what is changed, the new value, and a copy of the content with it."""
    for place in places(content):
        for value in VALUES:
            yield place, value, replaced(content, place, value)
    for place in [(), *places(content)]:
        if isinstance(at(content, place), dict):
            yield (*place, "typo"), 1, replaced(content, (*place, "typo"), 1)


def places(content: Any, before: Place = ()) -> Iterator[Place]:
    """Yields the place of every value inside a content; of lists the first item's."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))[:1]
    for key, value in items:
        yield (*before, key)
        yield from places(value, (*before, key))


def at(content: Any, place: Place) -> Any:
    """Returns the value at a place."""
    for key in place:
        content = content[key]
    return content


def replaced(content: Any, place: Place, value: Any) -> Any:
    """Returns a copy with another value at a place."""
    content = copy.deepcopy(content)
    at(content, place[:-1])[place[-1]] = copy.deepcopy(value)
    return content


def may_stand_for(value: Any, right: Any) -> bool:
    """Returns True if a value is of the type of the right one, and no worse number or text."""
    if isinstance(right, bool) or isinstance(value, bool):
        return isinstance(right, bool) and isinstance(value, bool)
    if isinstance(right, int | float) and isinstance(value, int | float):
        whole = isinstance(value, int) or isinstance(right, float)
        return whole and math.isfinite(value) and value >= 0
    if isinstance(right, list) and isinstance(value, list):
        return all(may_stand_for(one, right[0]) for one in value)
    return isinstance(value, dict if isinstance(right, dict) else type(right)) and value != ""


def is_nothing(value: Any) -> bool:
    """Returns True for 0 and for an empty list, which pass as soon as a bound is lost."""
    return not isinstance(value, bool) and value in (0, [])


def faults(
    content: Any,
    read: Callable[[Any], object],
    *,
    null: Collection[str] = (),
    nothing: Collection[str] = (),
    free: Collection[str] = (),
) -> list[str]:
    """Reads a content with every wrong value in turn, and lists what went wrong.

    Args:
        content: One that can be read.
        read: Reads a content. It raises a `CoalmError` for a wrong one.
        null: Keys that may be null.
        nothing: Keys that may be 0 or an empty list, though the content's value is neither.
        free: Keys of mappings whose own keys and values are not ours.
    """
    read(copy.deepcopy(content))
    found: list[str] = []
    for place, value, changed in wrong(content):
        what = f"{'.'.join(map(str, place))} = {value!r}"
        key = next(key for key in reversed(place) if isinstance(key, str))
        try:
            read(changed)
        except CoalmError as error:
            message = str(error)
            # An error about a file or an item names it in place of its key.
            inside = list(value) if isinstance(value, dict | list) else [value]
            named = key in message or any(str(one) in message for one in inside if one != "")
            if "\n" in message or not named:
                found.append(f"{what}: unclear: {message!r}")
        except Exception as error:  # whatever else there is is the fault that is looked for
            found.append(f"{what}: {type(error).__name__}: {error}")
        else:
            right = None if key == "typo" else at(content, place)
            may_be = key != "typo" and may_stand_for(value, right)
            if is_nothing(value) and not is_nothing(right):
                may_be = may_be and key in nothing
            may_be = may_be or (value is None and key in null) or bool(set(place[:-1]) & set(free))
            if not may_be:
                found.append(f"{what}: accepted")
    return found
