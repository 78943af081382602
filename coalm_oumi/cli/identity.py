"""Identifies by content what a stage of a chain reads and writes.

A stage reads what it declares, what its command names, and what the recipe of its command names:
the model, the adapter, the data. Commands that render prompts read the prompt templates as well.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.core.wording import first_line
from coalm_oumi.files.config import check_environment, check_file
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.files.resources import HUB, resolve
from coalm_oumi.rendering import prompts

MANIFEST = "manifest.json"
PROMPTS = "prompts"
"""The name of a stage's prompt templates among its inputs."""

_NOT_READ = ("output_dir", "output")
"""Keys of recipes that name outputs."""

_PLACES = ("path", "dataset_path", "transcripts", "model_name", "adapter_model", "tokenizer_name")
"""Keys of recipes that name a file or folder, even if it is one word without a slash."""

_WEIGHTS = ("adapter_config.json", "config.json")
_OF_A_MODEL = (
    *("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab*"),
    *("pytorch_model*.bin", "adapter_model*.bin"),
)
_NOT_OF_A_MODEL = ("trainer_state.json",)
"""A model stays the same if its card, its logs or its optimizer state change."""


def inputs_of(
    words: Sequence[str], *, declared: Sequence[str], outputs: Sequence[str]
) -> dict[str, str | None]:
    """Identifies all inputs of a command, by path; None for what does not exist yet.

    Args:
        words: The command's program and arguments.
        declared: Files and folders that it is declared to read.
        outputs: Files and folders that it writes. Words that name these are not inputs.

    Raises:
        CoalmError: A recipe that the command names cannot be read, or needs an environment
            variable that is not set.
    """
    # `report` in `coalm report` names a command, although a folder may have that name too.
    arguments = words[2:] if Path(words[0]).name in ("coalm", "oumi") else words[1:]
    names: list[str] = []
    for word in arguments:
        is_output = any(Path(output).is_relative_to(word) for output in outputs)
        if Path(word).exists() and not is_output:
            names.append(str(Path(word)))
    names += [*_named_by_recipes(words), *declared]
    inputs = {name: identify(Path(name)) for name in names}
    templates = _templates(words)
    if templates is not None:
        inputs[PROMPTS] = prompts.fingerprint(*templates)
    return inputs


def outputs_of(declared: Sequence[str]) -> dict[str, str]:
    """Identifies the files of the outputs that exist, by path."""
    return {file: found for name in declared for file, found in _files(Path(name))}


def difference(recorded: Mapping[str, str]) -> str | None:
    """Says how the first file that differs from its record does; None if none does."""
    for name, known in recorded.items():
        if not Path(name).exists():
            return f"{name} is gone"
        if not Path(name).is_file() or _hash_of(Path(name)) != known:
            return f"{name} has changed"
    return None


def identify(path: Path) -> str | None:
    """Returns a hash of a file's or a folder's content; None if it does not exist.

    The hash of a mixture's folder or manifest covers its shards. The hash of a model covers
    weights, configuration and tokenizer, but neither its card nor the times of its files.
    """
    if not path.exists():
        return None
    digest = hashlib.sha256()
    for file, found in _files(path):
        digest.update(f"{Path(file).name} {found}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """Yields each file that counts, with the hash of its content."""
    for file in _chosen(path):
        yield str(file), _hash_of(file)


def _chosen(path: Path) -> list[Path]:
    if not path.exists():
        return []
    if path.is_file():
        if path.name != MANIFEST:
            return [path]
        shards = [path.parent / name for name in _hashes(path)]
        return [path, *(shard for shard in shards if shard.is_file())]
    if not is_plain_folder(path):
        found = {file for pattern in _OF_A_MODEL for file in path.glob(pattern)}
        return sorted(file for file in found if file.name not in _NOT_OF_A_MODEL)
    return sorted(file for file in path.rglob("*") if file.is_file())


def is_plain_folder(path: Path) -> bool:
    """Returns True for a folder that holds no model."""
    return path.is_dir() and not any((path / name).is_file() for name in _WEIGHTS)


def _hashes(manifest: Path) -> Mapping[str, Json]:
    """Returns the hash of each shard that a manifest lists."""
    content = read_json(manifest)
    hashes: Json = content.get("sha256") if is_object(content) else None
    return hashes if is_object(hashes) else {}


def damaged_shard(manifest: Path) -> str | None:
    """Returns what is wrong with the first shard that is missing or differs from the manifest."""
    for name, known in _hashes(manifest).items():
        shard = manifest.parent / name
        if not shard.is_file():
            return f"{shard} is gone"
        if _hash_of(shard) != known:
            return f"{shard} differs from the hash in {manifest}"
    return None


def _hash_of(file: Path) -> str:
    stat = file.stat()
    return _hash(file.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.cache
def _hash(file: Path, *_: int) -> str:
    """Hashes a file's content, once per process while its size and times stay the same."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named_by_recipes(words: Sequence[str]) -> list[str]:
    """Returns the files and folders that the recipes behind `-c` name, with the command's changes.

    `coalm` takes changes as KEY=VALUE, `oumi` as --KEY VALUE or --KEY=VALUE.
    """
    found: list[str] = []
    for option, file in itertools.pairwise(words):
        if option in ("-c", "--config") and Path(file).is_file():
            found += _paths(_recipe(Path(file), _changes(words)))
    return list(dict.fromkeys(found))


def _changes(words: Sequence[str]) -> list[str]:
    changes: list[str] = []
    for place, word in enumerate(words):
        key, equals, value = word.removeprefix("--").partition("=")
        if not re.match(r"\w+([.\[]|$)", key):
            continue
        if equals:
            changes.append(f"{key}={value}")
        elif word.startswith("--") and place + 1 < len(words):
            changes.append(f"{key}={words[place + 1]}")
    return changes


def _recipe(file: Path, changes: Sequence[str]) -> Json:
    check_file(file)
    try:
        merged = OmegaConf.load(file)
        for change in changes:
            key, _, value = change.partition("=")
            OmegaConf.update(merged, key, yaml.safe_load(value))
        check_environment(merged, file)
        return OmegaConf.to_container(merged, resolve=True)
    except (yaml.YAMLError, OmegaConfBaseException, TypeError, ValueError, AssertionError) as error:
        raise CoalmError(f"{file}: cannot be read: {first_line(error)}") from error


def _paths(value: Json, key: str = "") -> Iterator[str]:
    """Yields the strings of a recipe that name files or folders on disk."""
    if is_object(value):
        for name, inner in value.items():
            yield from _paths(inner, str(name))
    elif is_list(value):
        for inner in value:
            yield from _paths(inner, key)
    elif isinstance(value, str) and value and key not in _NOT_READ and not value.startswith(HUB):
        path = resolve(value)
        if len(value) > 4095 or any(len(part) > 255 for part in path.parts):  # a text, not a path
            return
        if (key in _PLACES or "/" in value or path.is_file()) and path.exists():
            yield str(path)


def _templates(words: Sequence[str]) -> Sequence[str] | None:
    """Returns the prompt templates that a command renders: () for all, None if it renders none."""
    if "oumi" in words and "train" in words:
        return ("alpaca",)
    if "coalm" in words and "merge" in words:
        return ("chat/coalm",)
    renders = ("oumi", "evaluate"), ("coalm", "build"), ("coalm", "cra")
    return () if any(program in words and name in words for program, name in renders) else None
