"""Describes what a run was made with: data, prompts, code and hardware."""

import contextlib
import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from coalm_oumi import __version__
from coalm_oumi.core.digest import digest, digest_of_bytes
from coalm_oumi.core.jsontext import Json
from coalm_oumi.files.jsontext import read_json

MARK = "coalm-oumi made with: "
"""The start of the line in a training log that holds the description as JSON."""


def made_with(*, data: Path | None = None, prompts: str | None = None) -> dict[str, Json]:
    """Describes a run of this process.

    Args:
        data: The mixture that it reads, if any.
        prompts: The fingerprint of the prompt templates that it renders.

    Returns:
        `git` (None outside a checkout), `packages`, `hardware`, and the hashes `data` and
        `prompts`, which are equal on any machine if the content is.
    """
    return {
        "git": revision(),
        "packages": packages(),
        "hardware": hardware(),
        "data": None if data is None else data_hash(data),
        "prompts": prompts,
    }


def packages() -> dict[str, str]:
    """Returns the versions of the packages that influence scores."""
    installed = {"coalm-oumi": __version__}
    for name in ("oumi", "torch", "transformers", "peft", "trl", "datasets", "vllm"):
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def data_hash(path: Path) -> str | None:
    """Identifies a mixture by the hashes in its manifest, or a file by its content.

    Returns:
        None for a folder that `coalm build` did not write, or a path that does not exist.
    """
    manifest = path / "manifest.json"
    if manifest.is_file():
        found = read_json(manifest)
        return digest(found.get("sha256", found))
    return digest_of_bytes(path.read_bytes()) if path.is_file() else None


@functools.cache
def revision() -> str | None:
    """Returns the checkout's git revision, with `-dirty` if tracked files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@functools.cache
def hardware() -> str:
    """Names the accelerators of this machine, or its processor."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        names = sorted({torch.cuda.get_device_name(index) for index in range(count)})
        return f"{count} x {', '.join(names)}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name}"
