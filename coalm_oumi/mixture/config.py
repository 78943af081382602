"""What `coalm build` reads from a YAML under `recipes/data`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from coalm_oumi.errors import CoalmError
from coalm_oumi.paths import resource_dir
from coalm_oumi.sample import DOMAINS
from coalm_oumi.sources import SOURCES

SAMPLES = "samples:"
"""A path that starts so lies among the small raw files that ship with the package."""


@dataclass
class SourceConfig:
    """One source of the mixture.

    Attributes:
        path: The raw file or folder.
        limit: Take a seeded choice of that many dialogues; all, if not given.
        options: Options of the source's reader. A value that starts with `samples:` is a path.
    """

    path: str = MISSING
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class BuildConfig:
    """A mixture to build.

    Attributes:
        output_dir: The folder to write.
        sources: Which sources, by name.
        without: Domains to leave out: the ablations of Table 5.
        seed: Seeds the split, the limits and the interleaving.
        validation_fraction: The share of dialogues held out, by dialogue.
        strict: Stop at the first record that gives no sample, instead of listing it.
    """

    output_dir: str = MISSING
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    seed: int = 0
    validation_fraction: float = 0.02
    strict: bool = False


def load_config(file: Path, overrides: list[str]) -> BuildConfig:
    """Reads a build's YAML.

    Args:
        file: The YAML. `${oc.env:NAME}` in it is the environment variable's value.
        overrides: Changes of the form `seed=1`, as Oumi takes them.

    Raises:
        CoalmError: No such file, an unknown key or source, or a value of the wrong type.
    """
    if not file.is_file():
        raise CoalmError(
            f"{file}: no such file; the package's own are in {resource_dir('recipes')}"
        )
    try:
        config = OmegaConf.to_object(
            OmegaConf.merge(
                OmegaConf.structured(BuildConfig),
                OmegaConf.load(file),
                OmegaConf.from_dotlist(overrides),
            )
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CoalmError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise CoalmError(f"{file}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, BuildConfig)
    if not config.sources:
        raise CoalmError(f"{file}: `sources` is empty; name some of {', '.join(SOURCES)}")
    for name, source in config.sources.items():
        if name not in SOURCES:
            raise CoalmError(f"{file}: unknown source `{name}`; use some of {', '.join(SOURCES)}")
        if source.limit is not None and source.limit <= 0:
            raise CoalmError(f"{file}: {name}: limit: {source.limit} is not positive")
    for domain in config.without:
        if domain not in DOMAINS:
            raise CoalmError(
                f"{file}: without: unknown domain `{domain}`; use some of {', '.join(DOMAINS)}"
            )
    if {SOURCES[name].domain for name in config.sources} <= set(config.without):
        raise CoalmError(f"{file}: without: nothing is left of {', '.join(config.sources)}")
    if not 0 <= config.validation_fraction < 1:
        raise CoalmError(f"{file}: validation_fraction: must lie in [0, 1)")
    return config


def resolve(path: str) -> Path:
    """Returns the path that a configuration means."""
    if path.startswith(SAMPLES):
        return resource_dir("samples") / path.removeprefix(SAMPLES)
    return Path(path)
