"""The configuration of `coalm build`, from a YAML such as those of `recipes/data`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import is_list
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import DOMAINS
from coalm_oumi.data.sources import domain_of, source_names
from coalm_oumi.files.config import read_config


def _path_list(value: Any) -> Any:
    paths = [value] if isinstance(value, str) else value
    if not is_list(paths) or not paths or not all(isinstance(p, str) for p in paths):
        raise ValueError("expected a path or a list of paths")
    return paths


Paths = Annotated[list[str], BeforeValidator(_path_list)]
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
    limit: int | None = None
    max_samples: int | None = None
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

    output_dir: str
    sources: dict[str, SourceConfig] = Field(default_factory=dict)
    without: list[str] = Field(default_factory=list)
    seed: int = 0
    validation_fraction: float = 0.02
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
    for name, source in config.sources.items():
        if name not in source_names():
            known = ", ".join(source_names())
            raise CoalmError(f"{file}: unknown source `{name}`; use some of {known}")
        for key, most in (("limit", source.limit), ("max_samples", source.max_samples)):
            if most is not None and most <= 0:
                raise CoalmError(f"{file}: {name}: {key}: expected a number above 0, found {most}")
    for domain in config.without:
        if domain not in DOMAINS:
            raise CoalmError(
                f"{file}: without: unknown domain `{domain}`; use some of {', '.join(DOMAINS)}"
            )
    if {domain_of(name, source.options) for name, source in config.sources.items()} <= set(
        config.without
    ):
        raise CoalmError(f"{file}: without: nothing is left of {', '.join(config.sources)}")
    if not 0 <= config.validation_fraction < 1:
        raise CoalmError(f"{file}: validation_fraction: must be in [0, 1)")
    return config
