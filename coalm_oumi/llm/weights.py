"""Identifies a model on disk by its content: weights, configuration, tokenizer and template."""

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coalm_oumi.core.digest import digest

_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.gguf",
    "pytorch_model*.bin",
    "adapter_model*.bin",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "quantize_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "*.py",  # the code of models that include code
)
"""The files on which answers depend: no README, logs or optimizer state."""

_PIECE = 1 << 22


def fingerprint(model: str | None) -> str | None:
    """Returns a hash of a model's folder or file; None for a name on the Hub.

    Every byte is read, once per process, which takes seconds for 8B and minutes for 70B. Names and
    times of files would not tell a model that was trained again from its predecessor.

    Args:
        model: The model's name or path, as in a recipe.
    """
    if not model:
        return None
    path = Path(model)
    if path.is_file():
        return digest([_state(path)])
    if not path.is_dir():
        return None
    files = {file for pattern in _PATTERNS for file in path.glob(pattern) if file.is_file()}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(_state, sorted(files)))
    return digest(hashes)


def _state(file: Path) -> list[str]:
    stat = file.stat()
    return [file.name, _hash(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)]


@functools.lru_cache(maxsize=4096)
def _hash(file: Path, *_: int) -> str:
    """Hashes a file, once per process while its size and times stay the same."""
    hashed = hashlib.blake2b(digest_size=20)
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            hashed.update(piece)
    return hashed.hexdigest()
