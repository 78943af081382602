"""Reads this package's YAML as Oumi reads its own: typed, with overrides and `${oc.env:NAME}`."""

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options
from coalm_oumi.core.wording import first_line, one_line
from coalm_oumi.files.resources import check_recipe

T = TypeVar("T", bound=Options)


def read_config(kind: type[T], file: Path, overrides: list[str]) -> T:
    """Reads one YAML file.

    Args:
        kind: The class of options, which defines keys and types.
        file: The YAML. `${oc.env:NAME}` stands for the value of an environment variable.
        overrides: Changes of the form `seed=1`, as in Oumi.

    Raises:
        CoalmError: No such file, an unknown or missing key, or a value of the wrong type.
    """
    check_file(file)
    try:
        merged = OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_dotlist(overrides))
        check_environment(merged, file)
        values = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise CoalmError(f"{file}: {first_line(error)}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a bad date
        raise CoalmError(f"{file}: not valid YAML: {one_line(error)}") from error
    return kind.read(values, where=str(file))


def read_yaml(file: Path) -> Json:
    """Reads a YAML of any form, without changes.

    Raises:
        CoalmError: It cannot be read, is not YAML, or its anchors expand to too much.
    """
    check_file(file)
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CoalmError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a bad date or bad UTF-8
        raise CoalmError(f"{file}: not valid YAML: {one_line(error)}") from error


MAX_NODES = 100_000
"""The most keys and values of a YAML with anchors expanded. The largest recipe has under 1,000."""


def check_file(file: Path) -> None:
    """Checks that a recipe exists, and that its anchors expand to a reasonable size.

    Nested anchors double the size with every line, so reading thirty such lines takes forever.

    Raises:
        CoalmError: It does not exist, is too large, is nested too deeply, or contains itself. The
            caller finds other faults.
    """
    check_recipe(file)
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise CoalmError(f"{file}: nested too deeply") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return
    sizes: dict[int, int] = {}
    if root is not None and _nodes(root, sizes, 0, file) > MAX_NODES:
        raise CoalmError(
            f"{file}: its anchors stand for more than {MAX_NODES:,} keys and values; use fewer "
            "anchors"
        )


def _nodes(node: yaml.Node, sizes: dict[int, int], depth: int, file: Path) -> int:
    """Counts a node with everything that it expands to. Each anchor is visited once."""
    if depth > 100:  # an anchor may contain itself
        raise CoalmError(f"{file}: nested too deeply")
    if id(node) not in sizes:
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_nodes(part, sizes, depth + 1, file) for part in inside)
    return sizes[id(node)]


def check_environment(config: Any, file: Path) -> None:
    """Checks that the environment variables that a YAML uses are set.

    Args:
        config: The configuration with the changes, not yet resolved by OmegaConf.
        file: The YAML, for the error.

    Raises:
        CoalmError: A variable is unset or empty. An empty one would name the root folder.
    """
    text = yaml.safe_dump(OmegaConf.to_container(config, resolve=False), width=float("inf"))
    for name in re.findall(r"\$\{oc\.env:(\w+)\}", text):
        if not os.environ.get(name, "").strip():
            state = "is empty" if name in os.environ else "is not set"
            raise CoalmError(f"{file}: the environment variable {name} {state}: export {name}=...")
