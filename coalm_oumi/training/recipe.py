"""Reads Oumi's recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml
from oumi.exceptions import OumiConfigError

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import first_line, one_line
from coalm_oumi.files.config import check_file

if TYPE_CHECKING:
    from oumi.core.configs import BaseConfig, TrainingConfig

TELEMETRY = "telemetry/training_config.yaml"
"""The file in a run's output_dir in which Oumi saves the configuration."""

_Config = TypeVar("_Config", bound="BaseConfig")


def read_recipe(path: Path, changes: Sequence[str] = ()) -> "TrainingConfig":
    """Reads a training recipe as `oumi train` does.

    Args:
        path: The recipe.
        changes: Changes to it, `key=value`.

    Raises:
        CoalmError: No such file, not a training configuration, an unknown key or a bad value.
    """
    from oumi.core.configs import TrainingConfig

    return read_oumi_config(TrainingConfig, path, changes)


def read_oumi_config(kind: type[_Config], path: Path, changes: Sequence[str]) -> _Config:
    """Reads a recipe of any kind as the `oumi` command does.

    Args:
        kind: Oumi's configuration class.
        path: The recipe.
        changes: Changes to it, `key=value`.

    Raises:
        CoalmError: No such file, another kind of configuration, an unknown key or a bad value.
    """
    for change in changes:
        if "=" not in change:
            raise CoalmError(f"{change}: expected KEY=VALUE, such as training.max_steps=10")
    check_file(path)
    try:
        return kind.from_yaml_and_arg_list(str(path), list(changes))
    except OumiConfigError as error:
        raise CoalmError(f"{path}: {first_line(error)}") from error
    except (ValueError, yaml.YAMLError) as error:  # such as an unknown torch_dtype_str
        raise CoalmError(f"{path}: {one_line(error)}") from error
