"""Which calls of a model are executed: the package executes them with `eval`."""

import ast
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

REFUSED = "refused_call()"
"""Stands for a call that is not executed. Like one of an unknown function, it changes nothing."""


def methods(paths: Mapping[str, str], class_names: tuple[str, ...]) -> set[str]:
    """Returns the names of the functions that environments of these classes offer."""
    return {name for class_ in class_names for name in _methods(paths[class_], class_)}


@cache
def _methods(path: str, class_name: str) -> set[str]:
    members = inspect.getmembers(getattr(importlib.import_module(path), class_name))
    return {name for name, value in members if inspect.isfunction(value) and name[0] != "_"}


def refusal(call: str, allowed: set[str]) -> str | None:
    """Says why a call is not executed, or returns None.

    Only a call of an allowed function with literal arguments is.
    """
    try:
        node = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return f"{type(error).__name__}"
    if not isinstance(node, ast.Call):
        return "not a call"
    try:
        return _refusal(node, allowed)
    except RecursionError:
        return "nested too deeply"


def _refusal(node: Any, allowed: set[str]) -> str | None:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in allowed:
            return f"name '{ast.unparse(node.func)}' is not defined"
        if any(word.arg is None for word in node.keywords):
            return "arguments are given by name"
        children = [*node.args, *(word.value for word in node.keywords)]
    elif isinstance(node, ast.Constant):
        children = []
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        children = node.elts
    elif isinstance(node, ast.Dict):
        children = [*node.keys, *node.values]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        children = []
    else:
        return f"{type(node).__name__} is not a literal"
    return next(filter(None, (_refusal(child, allowed) for child in children)), None)
