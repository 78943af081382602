"""Replaces `eval` in the package's decoder, which would evaluate the text of a model."""
# pyright: standard

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_MAX_SIZE = 10_000
"""The most characters and elements of a value, counted through all its levels."""

_MAX_BITS = 10_000
"""The most bits of a power of integers."""

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def evaluate(text: str) -> Any:
    """Computes arithmetic on literals, and nothing else.

    Raises:
        ValueError: The text is something else, or its value is long.
        ArithmeticError: As Python's own `eval` raises it: 1 / 0, a float out of range.
    """
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs if key}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(_value(node.left), _value(node.right))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        first, second = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Mod) and isinstance(first, (str, bytes)):
            raise ValueError("text formatting is not computed")
        times = max([1, *(int(v) for v in (first, second) if isinstance(v, (int, float)))])
        repeated = isinstance(node.op, ast.Mult) and _size(first) + _size(second) > 2
        if (_size(first) + _size(second)) * (times if repeated else 1) > _MAX_SIZE:
            raise ValueError("the value is too long")
        return _OPERATORS[type(node.op)](first, second)
    raise ValueError(f"{type(node).__name__} is not arithmetic on literals")


def _power(base: Any, exponent: Any) -> Any:
    """Computes a power whose digits are bounded: `9 ** 9 ** 9` would take forever."""
    if not isinstance(base, (int, float)) or not isinstance(exponent, (int, float)):
        raise ValueError("only powers of numbers are computed")
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and exponent > 0
        and base.bit_length() * exponent > _MAX_BITS
    ):
        raise ValueError("the value is too long")
    return base**exponent


def _size(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return 1 + sum(map(_size, value))
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return len(value) + 1 if isinstance(value, (str, bytes)) else 1
