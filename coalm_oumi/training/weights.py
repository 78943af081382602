"""Writes complete models: an adapter merged into its base, and a base quantised once."""
# pyright: standard

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import first_line
from coalm_oumi.files import saved
from coalm_oumi.rendering.coalm_template import with_coalm
from coalm_oumi.training.model_folder import save
from coalm_oumi.training.recipe import TELEMETRY

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig


Dtype = Literal["bfloat16", "float32"]


def merge(
    adapter: Path, output: Path, *, base: str | None = None, dtype: Dtype = "bfloat16"
) -> float:
    """Merges a LoRA adapter into its base model and writes a complete model.

    Args:
        adapter: The folder that `oumi train` wrote.
        output: The folder to write. The tokenizer is the one of the adapter's training; its chat
            template also takes tools, in CoALM's form. The configuration of the training, which
            Oumi saved, is copied for the model's card.
        base: The base model, a hub id or a folder; None takes the one that the adapter names.
        dtype: The precision of the merged weights. bfloat16, with 8 significant bits, rounds
            updates away that are small beside the weight.

    Returns:
        The share of the adapter's update that was rounded away, in [0, 1]: the norm of the
        rounding errors over the norm of the update.

    Raises:
        CoalmError: `adapter` holds no adapter, the base is quantised or unavailable, or something
            is at `output`.
    """
    settings = adapter / "adapter_config.json"
    if not settings.is_file():  # before the imports, which take seconds
        raise CoalmError(f"{adapter}: no adapter_config.json; give the output_dir of `oumi train`")
    import peft
    import torch
    import transformers

    base = base or saved.read(saved.AdapterConfig, settings).base_model_name_or_path
    if base is None:
        raise CoalmError(f"{settings}: names no base model; give --base")
    precision = {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]
    with _whole(output) as folder:
        model = _base_model(base, precision)
        # `safe_merge` refuses weights that are NaN.
        tuned: Any = peft.PeftModel.from_pretrained(model, str(adapter))
        lost = _rounded_away(tuned)
        save(tuned.merge_and_unload(safe_merge=True), folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(adapter)
        if isinstance(tokenizer.chat_template, str):
            tokenizer.chat_template = with_coalm(tokenizer.chat_template)
        save(tokenizer, folder)
        if (adapter / TELEMETRY).is_file():
            (folder / TELEMETRY).parent.mkdir()
            shutil.copyfile(adapter / TELEMETRY, folder / TELEMETRY)
    return lost


def _base_model(name: str, precision: Any) -> Any:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(name)
        if getattr(config, "quantization_config", None) is not None:
            raise CoalmError(
                f"{name}: is quantised, and merging into it would round the adapter away; name the "
                "model that it was made from with --base"
            )
        return transformers.AutoModelForCausalLM.from_pretrained(name, dtype=precision)
    except (OSError, ValueError) as error:
        raise CoalmError(
            f"{name}: the base model is unavailable ({first_line(error)}); name another with --base"
        ) from error


def _rounded_away(tuned: Any) -> float:
    """Returns the share of an adapter's update that the precision of its base rounds away."""
    from peft.tuners.lora import LoraLayer

    error, change = 0.0, 0.0
    for module in tuned.modules():
        if not isinstance(module, LoraLayer) or not hasattr(module, "get_delta_weight"):
            continue
        weight = module.get_base_layer().weight
        for name in module.active_adapters:
            delta = module.get_delta_weight(name).float()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
            exact = weight.float() + delta
            error += float((exact.to(weight.dtype).float() - exact).square().sum())
            change += float(delta.square().sum())
    return math.sqrt(error / change) if change else 0.0


def quantize(recipe: "TrainingConfig", output: Path) -> None:
    """Quantises a recipe's model with the recipe's QLoRA settings and writes it.

    Training then reads 4 bits per weight instead of 16, and its processes need not quantise.

    Args:
        recipe: A training configuration with `peft.q_lora`.
        output: The folder to write.

    Raises:
        CoalmError: The recipe does not quantise, its model is unavailable, or something is at
            `output`.
    """
    import transformers

    if not recipe.peft.q_lora:
        raise CoalmError(
            "the recipe does not quantise; set peft.q_lora: true, or give another recipe"
        )
    name = recipe.model.model_name
    with _whole(output) as folder:
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                name,
                dtype=cast(Any, recipe.model.torch_dtype),
                # All GPUs of this machine together, or its CPU.
                device_map="auto",
                quantization_config=recipe.peft.to_bits_and_bytes(),
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise CoalmError(
                f"{name}: the model is unavailable ({first_line(error)}); name another with --model"
            ) from error
        save(model, folder)
        save(tokenizer, folder)


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Yields a temporary folder, which becomes `output` if nothing fails."""
    if output.exists():
        raise CoalmError(f"{output}: already exists; move it away or give another folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
