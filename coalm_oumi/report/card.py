"""The model card: data, hyperparameters and results of one training run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coalm_oumi import __version__
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files import hub, saved
from coalm_oumi.files.atomic import write_page
from coalm_oumi.rendering.prompts import templates
from coalm_oumi.report.collect import Runs, collect
from coalm_oumi.report.saved import Manifest
from coalm_oumi.training.recipe import TELEMETRY, read_recipe

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig

CARD = "README.md"
ADAPTER = "adapter_config.json"
_LICENCES = {
    r"llama-3\.1": "llama3.1",
    r"llama-3\.2": "llama3.2",
    r"llama-3\.3": "llama3.3",
    r"mistral-7b|smollm2|qwen2\.5-7b": "apache-2.0",
}
"""The licences of the base models that recipes name, by a part of their names."""

_PATTERNS = (CARD, "*.safetensors", "*.json", "*.jinja", "merges.txt", "*.model")
"""The files of a model's folder that are published: no checkpoint, log or optimizer state."""


def write(
    folder: Path, recipe: "TrainingConfig | None" = None, *, run_dir: Path | None = None
) -> Path:
    """Writes the card of a model into its folder.

    The card states what the run recorded: the configuration that Oumi saved beside the adapter,
    which `coalm merge` copies, and `adapter_config.json`.

    Args:
        folder: The folder of an adapter or of a merged model.
        recipe: The recipe of its training. Needed only if no configuration was saved.
        run_dir: The folder of its training and evaluations, as for `coalm report`; None takes the
            model's folder.

    Returns:
        The card's path.

    Raises:
        CoalmError: `folder` holds no model, or `recipe` is missing or contradicts the run.
    """
    is_adapter = (folder / ADAPTER).is_file()
    if not is_adapter and not (folder / "config.json").is_file():
        raise CoalmError(
            f"{folder}: no {ADAPTER} and no config.json here; give the folder of an adapter or "
            "a model"
        )
    file = _recorded(folder, run_dir)
    recorded = None if file is None else read_recipe(file)
    if recorded is not None and recipe is not None:
        _compare(hyperparameters(recipe), hyperparameters(recorded), str(file))
    known = recorded or recipe
    if known is None:
        raise CoalmError(
            f"{folder}: no {TELEMETRY} of the run; give --run-dir, or the recipe with -c"
        )
    if is_adapter:
        _compare(_of_recipe(known), _of_adapter(folder / ADAPTER), str(folder / ADAPTER))
    runs = collect(run_dir or folder) if run_dir or is_adapter else None
    text = render(known, is_adapter=is_adapter, runs=runs, manifest=_manifest(known, runs))
    write_page(folder / CARD, text)
    return folder / CARD


def _recorded(folder: Path, run_dir: Path | None) -> Path | None:
    """Finds the configuration that Oumi saved, of the model's run or of the only run."""
    if (folder / TELEMETRY).is_file():
        return folder / TELEMETRY
    files = [] if run_dir is None else list(run_dir.rglob(TELEMETRY))
    return files[0] if len(files) == 1 else None


def _compare(stated: Mapping[str, Any], recorded: Mapping[str, Any], place: str) -> None:
    for name, value in recorded.items():
        if stated.get(name) != value:
            raise CoalmError(
                f"the recipe contradicts the run: {name} is `{stated.get(name)}` in the recipe and "
                f"`{value}` in {place}; leave out -c, or give the recipe that was run"
            )


def _of_recipe(recipe: "TrainingConfig") -> dict[str, Any]:
    return {
        "base model": recipe.model.model_name,
        "LoRA r": recipe.peft.lora_r,
        "LoRA alpha": recipe.peft.lora_alpha,
    }


def _of_adapter(settings: Path) -> dict[str, Any]:
    adapter = saved.read(saved.AdapterConfig, settings)
    return {
        "base model": adapter.base_model_name_or_path,
        "LoRA r": adapter.r,
        "LoRA alpha": adapter.lora_alpha,
    }


def hub_id(name: str) -> str | None:
    """Returns a model's name on the Hub, or None for a folder."""
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) and not Path(name).exists()
    return name if is_id else None


def licence(base: str | None) -> str:
    """Returns the Hub's name of a base model's licence; `other` if it is not known."""
    for pattern, name in _LICENCES.items():
        if base is not None and re.search(pattern, base, re.IGNORECASE):
            return name
    return "other"


def hyperparameters(recipe: "TrainingConfig") -> dict[str, Any]:
    """Lists the hyperparameters of a recipe, as the card shows them."""
    training = recipe.training
    found: dict[str, Any] = {
        "base model": recipe.model.model_name,
        "precision": recipe.model.torch_dtype_str,
        "longest sample": f"{recipe.model.model_max_length} tokens",
        "samples per device and step": training.per_device_train_batch_size,
        "gradient accumulation": training.gradient_accumulation_steps,
        "length": f"{training.max_steps} steps"
        if training.max_steps > 0
        else f"{training.num_train_epochs} epochs",
        "learning rate": f"{training.learning_rate:g}, {training.lr_scheduler_type}",
        "warm-up": training.warmup_steps
        if training.warmup_steps is not None
        else f"{training.warmup_ratio or 0:g} of the steps",
        "optimizer": training.optimizer,
        "seed": training.seed,
    }
    if training.use_peft:
        found["LoRA"] = f"r={recipe.peft.lora_r}, alpha={recipe.peft.lora_alpha}"
        modules = recipe.peft.lora_target_modules
        found["LoRA on"] = ", ".join(modules) if modules else "the default of peft"
        if recipe.peft.q_lora:
            bits, kind = recipe.peft.q_lora_bits, recipe.peft.bnb_4bit_quant_type
            found["quantisation"] = f"{bits} bits, {kind if bits == 4 else 'int8'}"
    return found


def render(
    recipe: "TrainingConfig",
    *,
    is_adapter: bool,
    runs: Runs | None,
    manifest: Manifest | None = None,
) -> str:
    """Renders the card's text. Fields that were not recorded are left out."""
    base = hub_id(recipe.model.model_name)
    environment = templates(Path(__file__).parent)
    return environment.get_template("card.jinja").render(
        version=__version__,
        base=base,
        licence=licence(base),
        is_adapter=is_adapter,
        datasets=[
            {"name": data.dataset_name, "path": data.dataset_path, "options": data.dataset_kwargs}
            for data in recipe.data.train.datasets
        ],
        samples=manifest.samples if manifest else {},
        hyperparameters=hyperparameters(recipe),
        length=recipe.model.model_max_length,
        rank=recipe.peft.lora_r,
        training=runs.training if runs else [],
        results=runs.results if runs else [],
    )


def push(folder: Path, repository: str) -> str:
    """Pushes a model and its card to the Hugging Face Hub.

    Raises:
        CoalmError: The Hub refuses it or cannot be reached.
    """
    message = "CoALM, trained with coalm-oumi"
    return hub.push(folder, repository, kind="model", files=_PATTERNS, message=message)


def _manifest(recipe: "TrainingConfig", runs: Runs | None) -> Manifest | None:
    """Returns the manifest of the recipe's mixture, or else the only one of the run."""
    for data in recipe.data.train.datasets:
        file = Path(data.dataset_path or "nowhere") / "manifest.json"
        if file.is_file():
            return saved.read(Manifest, file)
    return runs.manifest if runs else None
