"""The configuration of `coalm build`, from a YAML such as those of `recipes/data`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import is_list
from coalm_oumi.core.options import HeldOutShare, Options, Seed, Text
from coalm_oumi.core.sample import Domain
from coalm_oumi.data.sources import domain_of, source_names
from coalm_oumi.files.config import read_config


def _path_list(value: Any) -> Any:
    paths = [value] if isinstance(value, str) else value
    if not is_list(paths) or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"expected a path or a list of paths, found {value!r}")
    return paths


Paths = Annotated[list[Text], BeforeValidator(_path_list), Field(min_length=1)]
"""A path or a list of paths, read as a list."""


class SourceConfig(Options):
    """One source of the mixture.

    Attributes:
        path: The raw file or folder, or a list of them. `samples:` at the start means the small raw
            files that ship with the package, `hub:` the Hugging Face Hub.
        limit: The number of dialogues, chosen by the seed; all if not given.
        max_samples: The most samples, in whole dialogues chosen by the seed; all if not given.
        options: The source's own options, which its module defines.
    """

    path: Paths
    limit: int | None = Field(default=None, ge=1)
    max_samples: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


class BuildConfig(Options):
    """A mixture to build.

    Attributes:
        output_dir: The folder to write.
        sources: The sources, by name.
        without: Domains to leave out: the ablations of Table 5.
        seed: Seeds the split, the limits and the interleaving.
        validation_fraction: The share of dialogues held out, by dialogue.
        strict: Stop at the first record that gives no sample, instead of listing it.
    """

    output_dir: Text
    sources: dict[str, SourceConfig] = Field(default_factory=dict)
    without: list[Domain] = Field(default_factory=list)
    seed: Seed = 0
    validation_fraction: HeldOutShare = 0.02
    strict: bool = False


def load_config(file: Path, overrides: list[str]) -> BuildConfig:
    """Reads a build's YAML.

    Args:
        file: The YAML. `${oc.env:NAME}` stands for the value of an environment variable.
        overrides: Changes of the form `seed=1`, as in Oumi.

    Raises:
        CoalmError: No such file, an unknown key or source, or a value of the wrong type.
    """
    config = read_config(BuildConfig, file, overrides)
    if not config.sources:
        raise CoalmError(f"{file}: `sources` is empty; name some of {', '.join(source_names())}")
    if _domains(config, file) <= set(config.without):
        raise CoalmError(f"{file}: without: nothing is left of {', '.join(config.sources)}")
    return config


def _domains(config: BuildConfig, file: Path) -> set[Domain]:
    """Reads the options of every source. They may say what its samples train."""
    try:
        return {domain_of(name, source.options) for name, source in config.sources.items()}
    except CoalmError as error:
        raise CoalmError(f"{file}: {error}") from error
