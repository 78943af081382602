"""What stands between a model's text and the package, which executes calls with `eval`."""

import ast
import importlib
import inspect
import ipaddress
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

REFUSED = "refused_call()"
"""Stands for a call that is not executed. Like one of an unknown function, it changes nothing."""


# --- Calls ---


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


# --- Steps of conversations ---


class Decoded:
    """A handler whose steps are lists of calls already, each of them allowed, or messages."""

    @staticmethod
    def decode_execute(step: list[str] | str, **_: Any) -> list[str]:
        """Returns the calls.

        Raises:
            ValueError: The step is a message.
        """
        if isinstance(step, str):
            raise ValueError("a message")
        return step


def decode(read: Callable[..., Any], text: str, *more: Any) -> Any:
    """Returns what a decoder of the package reads, or None where it can read nothing."""
    try:
        return read(text, *more)
    except Exception:  # the package's own runners take any exception for an unreadable answer
        return None


def allowed_steps(
    turns: list[list[str]], names: set[str], read: Callable[..., Any], *more: Any
) -> list[list[list[str]]]:
    """Decodes each step of each turn, and puts a harmless call in the place of a refused one."""
    return [
        [
            [REFUSED if refusal(call, names) else call for call in decode(read, step, *more) or []]
            for step in turn
        ]
        for turn in turns
    ]


# --- The web ---

_on_the_web = threading.local()


@contextmanager
def public_addresses_only() -> Iterator[None]:
    """Keeps this thread from connecting to addresses that are not of the public internet.

    A model chooses what is fetched. Where a proxy is set, it is the proxy that decides.
    """
    _watch()
    _on_the_web.guarded = True
    try:
        yield
    finally:
        _on_the_web.guarded = False


@cache
def _watch() -> None:
    proxies = {
        found[4][0]
        for proxy in urllib.request.getproxies().values()
        if (host := urlsplit(proxy).hostname)
        for found in socket.getaddrinfo(host, None)
    }

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and getattr(_on_the_web, "guarded", False):
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else address
            if host not in proxies and not ipaddress.ip_address(host).is_global:
                raise PermissionError(f"{host} is not an address of the public internet")

    sys.addaudithook(hook)
