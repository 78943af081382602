"""Stands for `eval` in the package's decoder, which computes with it what a model wrote."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_MAX_REPEAT = 1000
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def evaluate(text: str) -> Any:
    """Computes arithmetic on literals, and nothing else. Powers can take for ever, so none.

    Raises:
        ValueError: The text is something else, or its value is long.
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
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        first, second = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Mod) and isinstance(first, (str, bytes)):
            raise ValueError("text formatting is not computed")
        if isinstance(node.op, ast.Mult):
            _check_repeat(first, second)
        return _OPERATORS[type(node.op)](first, second)
    raise ValueError(f"{type(node).__name__} is not arithmetic on literals")


def _check_repeat(first: Any, second: Any) -> None:
    """Refuses text or lists that a multiplication would blow up."""
    for value, times in ((first, second), (second, first)):
        if hasattr(value, "__len__") and len(value) * max(int(times), 0) > _MAX_REPEAT:
            raise ValueError("a repeated value is too long")
