"""Reads this package's own YAML, as Oumi reads its: typed, with overrides and `${oc.env:NAME}`."""

from pathlib import Path
from typing import TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from coalm_oumi.errors import CoalmError
from coalm_oumi.paths import resource_dir

T = TypeVar("T")


def read_config(kind: type[T], file: Path, overrides: list[str]) -> T:
    """Reads one YAML file.

    Args:
        kind: The dataclass that says which keys there are, and their types.
        file: The YAML. `${oc.env:NAME}` in it is the environment variable's value.
        overrides: Changes of the form `seed=1`, as Oumi takes them.

    Raises:
        CoalmError: No such file, an unknown or missing key, or a value of the wrong type.
    """
    if not file.is_file():
        raise CoalmError(
            f"{file}: no such file; the package's own are in {resource_dir('recipes')}"
        )
    try:
        config = OmegaConf.to_object(
            OmegaConf.merge(
                OmegaConf.structured(kind),
                OmegaConf.load(file),
                OmegaConf.from_dotlist(overrides),
            )
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CoalmError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise CoalmError(f"{file}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, kind)
    return config
