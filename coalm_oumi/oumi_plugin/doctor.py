"""`coalm doctor`: does Oumi find this package, and what is there to run on."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from coalm_oumi.core.finding import Finding
from coalm_oumi.oumi_plugin.autoload import EXTRA_DEPS_FILE, PLUGIN_LINE, VARIABLE
from coalm_oumi.rendering import prompts

_PACKAGES = ("oumi", "torch", "transformers", "peft", "datasets", "openai")
_PROBE = """
import json
from oumi.core.registry import REGISTRY, RegistryType
kinds = (RegistryType.DATASET, RegistryType.EVALUATION_FUNCTION)
names = [name for kind in kinds for name in REGISTRY.get_all(kind)]
names = [name for name in names if name.startswith("coalm-oumi/")]
print("FOUND", json.dumps(sorted(names)))
"""


def examine() -> Iterator[Finding]:
    """Yields a finding a check."""
    yield _registration()
    for package in _PACKAGES:
        yield _version(package)
    yield _accelerator()
    yield _bitsandbytes()
    yield Finding(True, f"{len(prompts.names())} prompt templates")


def _registration() -> Finding:
    """Asks a fresh process that imports Oumi alone, as the `oumi` command does."""
    run = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True)
    found = [line for line in run.stdout.splitlines() if line.startswith("FOUND ")]
    names = json.loads(found[0].removeprefix("FOUND ")) if found else []
    own = os.environ.get(VARIABLE)
    if names:
        return Finding(True, f"Oumi finds {len(names)} entries: {', '.join(names)}")
    if run.returncode != 0:
        reason = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "no message"
        fix = f"check the file that {VARIABLE} names" if own else "reinstall coalm-oumi"
        return Finding(False, f"Oumi does not start with this package: {reason}", fix)
    return Finding(
        False,
        "Oumi does not find this package",
        f"add the line `{PLUGIN_LINE}` to {own}"
        if own and own != EXTRA_DEPS_FILE
        else f"reinstall coalm-oumi with pip, or export {VARIABLE}={EXTRA_DEPS_FILE}",
    )


def _version(package: str) -> Finding:
    try:
        return Finding(True, f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        return Finding(False, f"{package} is not installed", f"pip install {package}")


def _accelerator() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(False, "no accelerator: torch is not installed", "pip install torch")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding(True, f"GPU: {', '.join(names)}")
    return Finding(
        True,
        "no GPU: the demo runs, the 8B and larger recipes need one",
        "see the head of a recipe for its hardware",
    )


def _bitsandbytes() -> Finding:
    try:
        return Finding(True, f"bitsandbytes {importlib.metadata.version('bitsandbytes')}")
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            True,
            "bitsandbytes is not installed: QLoRA recipes need it",
            "pip install bitsandbytes (Linux)",
        )
