"""Decides which calls of a model are executed, because the package executes them with `eval`."""
# pyright: standard

import ast
import builtins
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

REFUSED = "refused_call()"
"""Replaces a refused call. Like a call of an unknown function, it changes nothing."""


def methods(paths: Mapping[str, str], class_names: tuple[str, ...]) -> set[str]:
    """Returns the names of the functions that environments of these classes offer."""
    return {name for class_ in class_names for name in _methods(paths[class_], class_)}


@cache
def _methods(path: str, class_name: str) -> set[str]:
    members = inspect.getmembers(getattr(importlib.import_module(path), class_name))
    return {name for name, value in members if inspect.isfunction(value) and name[0] != "_"}


def refusal(call: str, allowed: set[str]) -> str | None:
    """Returns why a call is not executed, in the words of Python's own error, or None.

    Only a call of an allowed function with literal arguments is executed, and only if it ends.
    """
    try:
        tree: Any = compile(call.lstrip(" \t"), "<string>", "eval", ast.PyCF_ONLY_AST)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return str(error) or type(error).__name__
    node = tree.body
    if not isinstance(node, ast.Call):
        return "not a call"
    try:
        return _refusal(node, allowed)
    except RecursionError:
        return "nested too deeply"


def _refusal(node: Any, allowed: set[str]) -> str | None:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in allowed:
            return f"name '{_root(node.func)}' is not defined"
        if any(word.arg is None for word in node.keywords):
            return "arguments are given by name"
        if _is_endless(node):
            return "the result is too large"
        children = [*node.args, *(word.value for word in node.keywords)]
    elif isinstance(node, ast.Constant):
        children = []
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        children = node.elts
    elif isinstance(node, ast.Dict):
        children = [*node.keys, *node.values]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        children = []
    elif isinstance(node, ast.Name) and not hasattr(builtins, node.id):
        return f"name '{node.id}' is not defined"
    else:
        return f"{type(node).__name__} is not a literal"
    return next(filter(None, (_refusal(child, allowed) for child in children)), None)


def _root(function: ast.expr) -> str:
    while isinstance(function, ast.Attribute):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ast.unparse(function)


_EFFORT = {
    "power": "exponent",
    "logarithm": "precision",
    "square_root": "precision",
    "round_number": "decimal_places",
}
"""The argument of a package function that sets how many digits it computes."""

_MAX_EFFORT = 10_000
_MAX_NUMBER = 10**100


def _is_endless(call: ast.Call) -> bool:
    """Returns True if a function would compute for longer than anyone waits."""
    last = _EFFORT.get(getattr(call.func, "id", ""))
    if last is None:
        return False
    named = {word.arg: word.value for word in call.keywords}
    numbers = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    efforts = [_magnitude(node) for node in (named.get(last), *call.args)]
    return max(efforts) > _MAX_EFFORT or any(
        isinstance(value, int) and value > _MAX_NUMBER for value in numbers
    )


def _magnitude(node: ast.expr | None) -> float:
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    value = node.value if isinstance(node, ast.Constant) else 0
    return abs(value) if isinstance(value, (int, float)) else 0
