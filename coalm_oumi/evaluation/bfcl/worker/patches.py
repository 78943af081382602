"""Replaces names in the installed package. All replacements go through this module.

Each was written for one release. `check_release` refuses other releases, and each replacement
refuses a name that the package no longer has, so that none is lost silently.
"""
# pyright: standard

import importlib.metadata
import types
from typing import Any

import arithmetic


def check_release(wanted: str) -> None:
    """Refuses every release except the one for which the replacements were written.

    Raises:
        ImportError: Another release is installed.
    """
    installed = importlib.metadata.version("bfcl_eval")
    if installed != wanted:
        raise ImportError(
            f"bfcl-eval {installed} is installed where {wanted} is needed; delete the folder of "
            "its environment, and the next run installs it again"
        )


def replace(owner: Any, name: str, value: Any) -> None:
    """Replaces a name of the package by ours.

    Raises:
        ImportError: The package has no such name.
    """
    if not hasattr(owner, name):
        raise ImportError(f"bfcl-eval has no {owner.__name__}.{name} any more")
    setattr(owner, name, value)


def without_eval(module: types.ModuleType) -> None:
    """Gives a module an `eval` that computes arithmetic on literals, and nothing else.

    Decoders call `eval` on the text of a model. A global name is found before the built-in one.
    """
    module.eval = arithmetic.evaluate  # pyright: ignore[reportAttributeAccessIssue]
