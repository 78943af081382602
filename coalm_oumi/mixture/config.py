"""What `coalm build` reads from a YAML under `recipes/data`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
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

HUB = "hub:"
"""A path that starts so, as `hub:owner/name@revision/folder`, is a data set on the hub."""


@dataclass
class SourceConfig:
    """One source of the mixture.

    Attributes:
        path: The raw file or folder, or a list of them. One that starts with `samples:` lies among
            the small raw files that ship with the package, one that starts with `hub:` on the
            Hugging Face Hub.
        limit: Take a seeded choice of that many dialogues; all, if not given.
        options: Options of the source's reader. A value that starts with `samples:` is a path.
    """

    path: Any = MISSING
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Sequence[str]:
        """The path or paths, as a list."""
        return [self.path] if isinstance(self.path, str) else self.path


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
        if not source.paths or not all(isinstance(path, str) for path in source.paths):
            raise CoalmError(f"{file}: {name}: path: expected a path or a list of paths")
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
    """Returns the path that a configuration means. What lies on the hub is fetched first.

    Raises:
        CoalmError: The hub does not have it, or cannot be reached.
    """
    if path.startswith(SAMPLES):
        return resource_dir("samples") / path.removeprefix(SAMPLES)
    if path.startswith(HUB):
        return _from_hub(path)
    return Path(path)


def resolve_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a source's options with the paths that they mean."""
    return {
        key: resolve(value)
        if isinstance(value, str) and value.startswith((SAMPLES, HUB))
        else value
        for key, value in options.items()
    }


@cache
def _from_hub(path: str) -> Path:
    import huggingface_hub

    match = re.fullmatch(rf"{HUB}([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?", path)
    if match is None:
        raise CoalmError(f"{path}: expected {HUB}owner/name, with @revision or /folder after it")
    repository, revision, inside = match.groups()
    try:
        folder = huggingface_hub.snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=["*.json", "*.jsonl"]
        )
    except Exception as error:  # the hub client raises errors of many libraries
        reason = " ".join(str(error).split())
        raise CoalmError(
            f"{path}: not to be had from the Hugging Face Hub ({reason}). Give a path on disk, or "
            "log in with `hf auth login` where the data set asks for it"
        ) from error
    return Path(folder) / (inside or "")
