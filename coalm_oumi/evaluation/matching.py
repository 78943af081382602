"""Compares function calls with references: a match of syntax trees, in any order."""

from collections.abc import Sequence

from coalm_oumi.core.jsontext import JsonValue
from coalm_oumi.formats.calls import FunctionCall


def same_value(left: JsonValue, right: JsonValue) -> bool:
    """Returns True if two argument values are equal. 1 and 1.0 are; 1 and True, or "1", are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    return left == right


def same_call(left: FunctionCall, right: FunctionCall) -> bool:
    """Returns True if names and all arguments are equal."""
    return left.name == right.name and same_value(dict(left.arguments), dict(right.arguments))


def ast_match(predicted: Sequence[FunctionCall], expected: Sequence[FunctionCall]) -> bool:
    """Returns True if two lists hold the same calls, in any order.

    This is stricter than BFCL's AST checker, which accepts several values and ignores case and
    punctuation of text. Here the reference is the only right answer.
    """
    rest = list(expected)
    for call in predicted:
        found = next((i for i, other in enumerate(rest) if same_call(call, other)), None)
        if found is None:
            return False
        del rest[found]
    return not rest
