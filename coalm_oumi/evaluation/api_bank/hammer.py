"""Precision, recall and F1 of function names and arguments, as Hammer counts them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.formats.calls import FunctionCall


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of items written, expected and right.

    Attributes:
        predicted: Written by the model.
        expected: In the reference.
        correct: In both.
    """

    predicted: int
    expected: int
    correct: int

    def __add__(self, other: "Counts") -> "Counts":
        """Adds count by count: the scores are of all samples together."""
        return Counts(
            self.predicted + other.predicted,
            self.expected + other.expected,
            self.correct + other.correct,
        )

    def scores(self) -> tuple[float, float, float]:
        """Returns precision, recall and F1, each 0 if nothing is right."""
        if not self.correct:
            return 0.0, 0.0, 0.0
        precision, recall = self.correct / self.predicted, self.correct / self.expected
        return precision, recall, 2 * precision * recall / (precision + recall)


NOTHING = Counts(0, 0, 0)


def count(text: str, expected: Sequence[FunctionCall]) -> tuple[Counts, Counts]:
    """Counts names and arguments of one answer as Hammer's `evaluation/evaluate.py` does.

    These peculiarities are kept, to give the same numbers. An unreadable answer counts as one wrong
    call, and an empty list as none. A name may be matched more often than it occurs in the
    reference. If several references have that name, the first with a right argument counts. Values
    are compared as Python text, and empty ones are left out. If both calls have no argument, this
    counts as one right argument and none written.

    Args:
        text: What the model wrote.
        expected: The reference.

    Returns:
        The counts of function names, and those of arguments.
    """
    names = Counts(0, len(expected), 0)
    arguments = Counts(0, sum(len(_filled(call.arguments)) for call in expected), 0)
    predicted = _read(text)
    if predicted is None:
        return names + Counts(1, 0, 0), arguments
    for call in predicted:
        given = call["arguments"]
        matching = [reference for reference in expected if reference.name == call.get("name")]
        right = next(filter(None, (_right(r.arguments, given) for r in matching)), 0)
        names += Counts(1, 0, 1 if matching else 0)
        arguments += Counts(len(_filled(given)), 0, right)
    return names, arguments


def _read(text: str) -> list[dict[str, Any]] | None:
    """Reads the calls of an answer, or returns None.

    Hammer's script stops with a traceback at a call without a mapping of arguments. Here the answer
    counts as unreadable.
    """
    try:
        value = json.loads(text.replace("```json", "").replace("```", ""))
    except (ValueError, RecursionError):
        return None
    if is_object(value):
        value = value.get("tool_calls", value)
    if value is None:
        return []
    fits = is_list(value) and all(
        is_object(call) and is_object(call.get("arguments")) for call in value
    )
    return value if fits else None


def _filled(arguments: Mapping[str, Json]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items() if value != ""}


def _right(expected: Mapping[str, Json], given: Mapping[str, Json]) -> int:
    if not expected and not _filled(given):
        return 1
    found = _filled(given)
    return sum(found.get(name) == value for name, value in _filled(expected).items())
