"""The environment of `bfcl-eval`, which cannot live beside Oumi: it wants another numpy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from oumi.utils.logging import logger

from coalm_oumi.errors import CoalmError
from coalm_oumi.files import cache_dir, write_text

VERSION = "2025.6.16"
"""A release with the data and checkers of BFCL V3, as all from 2025.6.8 to 2025.8.6.2."""


def python() -> Path:
    """Returns the interpreter of the environment, installed by the first call.

    It lies in the user's cache folder. The first run takes about a minute and 620 MB.

    Raises:
        CoalmError: The installation failed; nothing of it is left.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_dir() / f"bfcl-eval-{VERSION}-python{version}"
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    if complete.exists():
        return interpreter
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            logger.info(f"Installing bfcl-eval {VERSION} into {folder} (once, about a minute)")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _run(sys.executable, "-m", "venv", folder)
                _run(interpreter, "-m", "pip", "install", "--quiet", f"bfcl-eval=={VERSION}")
            except CoalmError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            write_text(complete, f"bfcl-eval=={VERSION}\n")
    return interpreter


def variables(root: Path) -> dict[str, str]:
    """Returns the environment variables of a process there.

    Args:
        root: Where bfcl-eval puts the folders that it makes as soon as it is imported.
    """
    return {**os.environ, "BFCL_PROJECT_ROOT": str(root), "PYTHONUTF8": "1"}


def _run(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CoalmError(
            f"bfcl-eval {VERSION} cannot be installed into an environment of its own: "
            f"`{' '.join(map(str, command))}` ended with {''.join(last)}; pip must reach a package "
            "index on the first run"
        )
