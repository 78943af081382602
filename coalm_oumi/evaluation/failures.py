"""The types of failure that `coalm errors` counts."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from coalm_oumi.evaluation.matching import ast_match
from coalm_oumi.formats.calls import FunctionCall


class Failure(StrEnum):
    """The first fault of an answer, in the order of these types."""

    FORMAT = "format"
    """Not a list of calls in the requested form."""

    OVER_CALLING = "over-calling"
    """Too many calls, or a call although none was expected."""

    MISSING_CALL = "missing call"
    """Too few calls."""

    WRONG_FUNCTION = "wrong function"
    """The right number of calls, but one of a wrong function."""

    WRONG_ARGUMENT = "wrong argument"
    """An argument is missing, is not one of the function's, or has another value."""

    WRONG_TYPE = "wrong type"
    """Every value is as expected, but one has another type: "85" for 85."""

    WRONG_STATE = "wrong state"
    """The calls of a conversation led to another state or to other results."""

    WRONG_ANSWER = "wrong answer"
    """The agent's final answer is wrong or incomplete."""

    WRONG_VENUE = "wrong venue"
    """The agent of a dialogue names no venue, train or taxi that satisfies the goal."""

    WRONG_BOOKING = "wrong booking"
    """Everything was found and answered, but not booked as the goal asks."""

    BROKEN_OFF = "broken off"
    """The dialogue did not finish."""


def classify(
    predicted: Sequence[FunctionCall] | None, expected: Sequence[FunctionCall]
) -> Failure | None:
    """Names the failure of an answer that has one right reference.

    Args:
        predicted: The calls; None for an unreadable answer.
        expected: The reference.

    Returns:
        The type of failure, or None if the calls are those of the reference, in any order.
    """
    if predicted is None:
        return Failure.FORMAT
    if ast_match(predicted, expected):
        return None
    if len(predicted) > len(expected):
        return Failure.OVER_CALLING
    if len(predicted) < len(expected):
        return Failure.MISSING_CALL
    if Counter(call.name for call in predicted) != Counter(call.name for call in expected):
        return Failure.WRONG_FUNCTION
    same_text = Counter(map(_as_text, predicted)) == Counter(map(_as_text, expected))
    return Failure.WRONG_TYPE if same_text else Failure.WRONG_ARGUMENT


def _as_text(call: FunctionCall) -> tuple[str, frozenset[tuple[str, str]]]:
    arguments = ((name, str(value).lower()) for name, value in call.arguments.items())
    return call.name, frozenset(arguments)
