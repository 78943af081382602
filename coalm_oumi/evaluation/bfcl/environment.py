"""The environments of `bfcl-eval`, which cannot be installed with Oumi: it needs another numpy."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from filelock import FileLock
from oumi.utils.logging import logger

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.files.atomic import cache_dir, write_text

SEARCH_KEY = "SERPAPI_API_KEY"
"""The environment variable with the key of the package's search engine."""

_PASSED_ON = re.compile(
    r"PATH|HOME|TMPDIR|LANG|LC_\w+|XDG_CACHE_HOME|SYSTEMROOT|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+"
    r"|(REQUESTS|CURL)_CA_BUNDLE|HF_(?!\w*(TOKEN|KEY))\w+|CUDA_\w+",
    re.IGNORECASE,
)
"""The environment variables that a process there inherits. Because it handles output of models, it
gets no keys except those that it needs."""

_COMPILES = sys.version_info >= (3, 13)
"""The package wants numpy 1.26, of which there are no wheels for Python 3.13: pip compiles it."""

_REQUIREMENTS = (
    "import importlib.metadata, json; print(json.dumps(importlib.metadata.requires('bfcl_eval')))"
)


def python(version: Version, *, extras: bool = False) -> Path:
    """Returns the interpreter of a version's environment, installed by the first call.

    It is in the user's cache folder. The first run takes about a minute, and 620 MB for V3 or
    700 MB for V4. On Python 3.13 it takes about ten, and a C compiler.

    Args:
        version: The version of the benchmark.
        extras: Whether the package's large requirements are needed too, several GB in all.

    Raises:
        CoalmError: The installation failed. The next call tries it again.
    """
    release = f"bfcl-eval-{version.release}"
    folder = cache_dir() / f"{release}-python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    with_extras = folder / "complete-extras" if extras and version.extras else complete
    if complete.exists() and with_extras.exists():
        return interpreter
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            duration = "ten minutes, since numpy is compiled" if _COMPILES else "a minute or two"
            logger.info(f"Installing {release} into {folder} (once, {duration})")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _install(version, interpreter)
            except CoalmError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            write_text(complete, f"{release}\n")
        if not with_extras.exists():
            logger.info(f"Installing {', '.join(version.extras)} into {folder} (once, minutes)")
            _pip(version, interpreter, _declared(version, interpreter))
            write_text(with_extras, "\n".join(version.extras))
    return interpreter


def variables(root: Path, keys: Collection[str] = ()) -> dict[str, str]:
    """Returns the environment variables of a process there.

    Args:
        root: The folder in which bfcl-eval makes folders as soon as it is imported.
        keys: Names of variables with the keys of services that it needs.
    """
    # A page that a model chooses is not fetched with the user's passwords.
    own = {"BFCL_PROJECT_ROOT": str(root), "PYTHONUTF8": "1", "NETRC": os.devnull}
    # The package sets these too: faiss and torch each bring an OpenMP.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    passed = {
        name: value
        for name, value in os.environ.items()
        if _PASSED_ON.fullmatch(name) or name in keys
    }
    return {**passed, **own, **threads}


def _install(version: Version, interpreter: Path) -> None:
    _run(version, sys.executable, "-m", "venv", interpreter.parent.parent)
    _pip(version, interpreter, ["--no-deps", f"bfcl-eval=={version.release}"])
    declared = _declared(version, interpreter)
    wanted = [line for line in declared if _name(line) not in version.extras]
    _pip(version, interpreter, [*wanted, *version.undeclared])


def _declared(version: Version, interpreter: Path) -> list[str]:
    """Returns the requirements of the installed package."""
    lines = json.loads(_run(version, interpreter, "-c", _REQUIREMENTS))
    return [line for line in lines if "extra ==" not in line]


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0].lower()


def _pip(version: Version, interpreter: Path, arguments: Sequence[str]) -> None:
    _run(version, interpreter, "-m", "pip", "install", "--quiet", *arguments)


def _run(version: Version, *command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        compiler = ". numpy 1.26 needs a C compiler here; Python 3.12 does not" if _COMPILES else ""
        raise CoalmError(
            f"bfcl-eval {version.release} cannot be installed into an isolated environment: "
            f"`{' '.join(map(str, command))}` ended with {''.join(last)}; pip must reach a package "
            f"index on the first run{compiler}"
        )
    return done.stdout
