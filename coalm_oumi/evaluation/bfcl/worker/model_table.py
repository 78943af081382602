"""Replaces the package's model table. Import it before any other part of the package.

The table imports the client of every API vendor, which takes longer than all checks together. The
checkers look up one flag in it: whether dots in names became underscores. A model's entry is read
from the table's source, so that only the handler of that model is imported.
"""
# pyright: standard

import ast
import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MODEL, MODEL_WITHOUT_DOTS = "coalm", "native"

_NAME = "bfcl_eval.constants.model_config"
_table = types.ModuleType(_NAME)
_table.MODEL_CONFIG_MAPPING = {  # pyright: ignore[reportAttributeAccessIssue]
    MODEL: types.SimpleNamespace(underscore_to_dot=False),
    MODEL_WITHOUT_DOTS: types.SimpleNamespace(underscore_to_dot=True),
}
sys.modules[_NAME] = _table


@dataclass(frozen=True)
class TableEntry:
    """A model of the package's table.

    Attributes:
        model_name: Its name at its vendor or on the Hub.
        module: The module of its handler.
        handler: The handler's class there.
        is_fc_model: Whether the table says that it is given functions as tools.
        underscore_to_dot: Whether it is given underscores for the dots in names.
    """

    model_name: str
    module: str
    handler: str
    is_fc_model: bool
    underscore_to_dot: bool

    def handler_class(self) -> Any:
        """Imports the handler's class, and what it needs of its vendor's client."""
        return getattr(importlib.import_module(self.module), self.handler)


@cache
def entries() -> dict[str, TableEntry]:
    """Returns the models of the table by their names."""
    package = importlib.util.find_spec("bfcl_eval")
    if package is None or not package.origin:
        raise ImportError("bfcl_eval is not installed")
    source = Path(package.origin).with_name("constants") / "model_config.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    modules: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {alias.name: node.module for alias in node.names}
    found: dict[str, TableEntry] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(value, ast.Call):
                continue
            if isinstance(key.value, str):
                fields: dict[str, Any] = {word.arg or "": word.value for word in value.keywords}
                handler = fields["model_handler"].id
                found[key.value] = TableEntry(
                    model_name=fields["model_name"].value,
                    module=modules[handler],
                    handler=handler,
                    is_fc_model=fields["is_fc_model"].value,
                    underscore_to_dot=fields["underscore_to_dot"].value,
                )
    return found
