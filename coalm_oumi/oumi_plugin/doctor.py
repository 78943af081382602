"""`coalm doctor`: checks that Oumi finds this package, the hardware, and access to the Hub."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from coalm_oumi.core.finding import Finding
from coalm_oumi.core.jsontext import Json, is_list, is_object, leaves
from coalm_oumi.core.wording import one_line
from coalm_oumi.files.config import read_yaml
from coalm_oumi.files.resources import HUB
from coalm_oumi.oumi_plugin.extra_deps import EXTRA_DEPS_FILE, PLUGIN_LINE, VARIABLE
from coalm_oumi.rendering import prompts

_PACKAGES = ("oumi", "torch", "transformers", "peft", "datasets", "openai")
_OPTIONAL = (
    ("bitsandbytes", "QLoRA recipes need it", "pip install bitsandbytes (Linux)"),
    ("liger-kernel", "the 8B recipe needs it", "pip install 'coalm-oumi[gpu]'"),
)
MIXTURE = "coalm-oumi/mixture"
PUBLISHED = "uiuc-convai/CoALM-IT"
"""The data set that the dataset class reads if a recipe names no path."""
_LOCAL_ENGINES = ("NATIVE", "VLLM", "LLAMACPP")

_NO_CUDNN = "TORCH_CUDNN_SDPA_DEPRIORITIZED"
"""Makes SDPA try cuDNN last. PyTorch reads it when a process first computes attention."""

_PROBE = """
import json
from oumi.core.registry import REGISTRY, RegistryType
kinds = (RegistryType.DATASET, RegistryType.EVALUATION_FUNCTION)
names = [name for kind in kinds for name in REGISTRY.get_all(kind)]
names = [name for name in names if name.startswith("coalm-oumi/")]
print("FOUND", json.dumps(sorted(names)))
"""


def examine(recipe: Path | None = None) -> Iterator[Finding]:
    """Yields one finding per check.

    Args:
        recipe: An Oumi recipe. Access to its models and data on the Hugging Face Hub is checked.

    Raises:
        CoalmError: The recipe cannot be read.
    """
    yield _registration()
    for package in _PACKAGES:
        missing = Finding(False, f"{package} is not installed", f"pip install {package}")
        yield _version(package, missing)
    yield from _accelerator()
    for package, use, fix in _OPTIONAL:
        yield _version(package, Finding(True, f"{package} is not installed: {use}", fix))
    yield Finding(True, f"{len(prompts.names())} prompt templates")
    if recipe is not None:
        yield from hub_access(recipe)


def hub_access(recipe: Path) -> Iterator[Finding]:
    """Checks that this machine may download the models and data that a recipe names.

    Raises:
        CoalmError: The recipe cannot be read.
    """
    models, data = _named(recipe)
    for name in models:
        yield _reachable(name, "model")
    for name in data:
        yield _reachable(name, "dataset")
    if not models and not data:
        yield Finding(True, f"{recipe}: names nothing on the Hub")


def _named(recipe: Path) -> tuple[list[str], list[str]]:
    """Returns the models and data sets of a recipe that are not on this machine's disk."""
    content = read_yaml(recipe)
    models: list[str] = []
    data: list[str] = []
    served = str(_value(content, "inference_engine") or _value(content, "engine") or "NATIVE")
    if served.upper() in _LOCAL_ENGINES:
        model = _value(content, "model")
        models += [_value(model, key) for key in ("model_name", "tokenizer_name", "adapter_model")]
    for found in leaves(content):
        if isinstance(found, str) and found.startswith(HUB):
            data.append("/".join(found.removeprefix(HUB).split("@")[0].split("/")[:2]))
    train = _value(_value(_value(content, "data"), "train"), "datasets")
    for dataset in train if is_list(train) else []:
        if _value(dataset, "dataset_name") == MIXTURE and not _value(dataset, "dataset_path"):
            data.append(_value(_value(dataset, "dataset_kwargs"), "hub_id") or PUBLISHED)
    return _on_hub(models), _on_hub(data)


def _on_hub(names: Sequence[Json]) -> list[str]:
    chosen = [name for name in names if isinstance(name, str) and name and not Path(name).exists()]
    return list(dict.fromkeys(name for name in chosen if re.fullmatch(r"[\w.-]+/[\w.-]+", name)))


def _value(content: Json, key: str) -> Json:
    return content.get(key) if is_object(content) else None


def _reachable(name: str, kind: str) -> Finding:
    """Sends the Hub one small request, with this machine's token if there is one."""
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"
    try:
        huggingface_hub.HfApi().auth_check(name, repo_type=kind)
    except GatedRepoError:
        text = f"{name}: gated, and this account has no access"
        return Finding(False, text, f"accept its terms on {page}, then `hf auth login`")
    except RepositoryNotFoundError:
        text = f"{name}: no such {kind} on the Hub, or a private one"
        return Finding(
            False, text, "check the name, or `hf auth login`; a folder on disk works too"
        )
    except Exception as error:  # the Hub client raises errors of many libraries
        return Finding(
            False,
            f"{name}: the Hub cannot be reached ({type(error).__name__}: {one_line(error, 200)})",
            f"check the network and HF_HUB_OFFLINE, or put the {kind} on disk and name its folder",
        )
    return Finding(True, f"{name}: can be downloaded")


def _registration() -> Finding:
    """Asks a fresh process that imports only Oumi, as the `oumi` command does."""
    run = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True)
    found = [line for line in run.stdout.splitlines() if line.startswith("FOUND ")]
    names: list[str] = json.loads(found[0].removeprefix("FOUND ")) if found else []
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


def _version(package: str, missing: Finding) -> Finding:
    try:
        return Finding(True, f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        return missing


def _accelerator() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(False, "no accelerator: torch is not installed", "pip install torch")
        return
    import torch

    if not torch.cuda.is_available():
        yield Finding(
            True,
            "no GPU: the demo runs, the 8B and larger recipes need one",
            "see the head of a recipe for its hardware",
        )
        return
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding(True, f"GPU: {', '.join(names)}")
    flash = importlib.util.find_spec("flash_attn") is not None
    yield from attention(torch.__version__, flash=flash, environment=os.environ)


def attention(torch: str, *, flash: bool, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Reports how a GPU computes attention, and whether rows without padding need a mask.

    Args:
        torch: The release of PyTorch.
        flash: Whether flash-attn is installed.
        environment: The environment's variables.
    """
    if flash:
        yield Finding(
            True,
            "flash-attn is installed: rows without padding need no mask",
            "--model.attn_implementation flash_attention_2",
        )
    else:
        yield Finding(
            True,
            "flash-attn is not installed: SDPA takes a mask of all pairs of tokens in a row",
            "pip install flash-attn --no-build-isolation",
        )
    release = tuple(int(part) for part in re.findall(r"\d+", torch)[:2])
    if release >= (2, 11) and environment.get(_NO_CUDNN) != "1":
        yield Finding(
            True,
            f"torch {torch}: SDPA prefers cuDNN, which plans again for each length of a row",
            f"export {_NO_CUDNN}=1",
        )
