"""Reads this package's own YAML, as Oumi reads its: typed, with overrides and `${oc.env:NAME}`."""

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options

T = TypeVar("T", bound=Options)


def read_config(kind: type[T], file: Path, overrides: list[str]) -> T:
    """Reads one YAML file.

    Args:
        kind: The options that say which keys there are, and their types.
        file: The YAML. `${oc.env:NAME}` in it is the environment variable's value.
        overrides: Changes of the form `seed=1`, as Oumi takes them.

    Raises:
        CoalmError: No such file, an unknown or missing key, or a value of the wrong type.
    """
    if not file.is_file():
        raise CoalmError(f"{file}: no such file; `coalm recipes --copy` writes the recipes here")
    try:
        merged = OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_dotlist(overrides))
        check_environment(merged, file)
        values = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CoalmError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise CoalmError(f"{file}: {str(error).splitlines()[0]}") from error
    return kind.read(values, where=str(file))


def check_environment(config: Any, file: Path) -> None:
    """Checks that the environment variables that a YAML uses are set.

    Args:
        config: What OmegaConf read, with the changes, unresolved.
        file: The YAML, for the error.

    Raises:
        CoalmError: A variable is unset or empty. An empty one would name the root folder.
    """
    text = yaml.safe_dump(OmegaConf.to_container(config, resolve=False), width=float("inf"))
    for name in re.findall(r"\$\{oc\.env:(\w+)\}", text):
        if not os.environ.get(name, "").strip():
            state = "is empty" if name in os.environ else "is not set"
            raise CoalmError(f"{file}: the environment variable {name} {state}: export {name}=...")
