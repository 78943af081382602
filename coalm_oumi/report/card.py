"""The model card: data, hyperparameters and results of one training run, filled in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from coalm_oumi import __version__
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files import hub
from coalm_oumi.files.atomic import write_text
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.rendering.prompts import templates
from coalm_oumi.report.collect import Runs, collect

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig

CARD = "README.md"
_PATTERNS = (CARD, "*.safetensors", "*.json", "*.jinja", "merges.txt", "*.model")
"""What of a model's folder is published: no checkpoint, log or optimizer state."""


def write(folder: Path, recipe: "TrainingConfig", *, run_dir: Path | None = None) -> Path:
    """Writes the card of a model into its folder.

    Args:
        folder: The model: an adapter's folder or what `coalm merge` wrote.
        recipe: The recipe that it was trained with.
        run_dir: The folder of its training and evaluations, as `coalm report` takes it; without
            it, the model's own folder.

    Returns:
        The card's path.

    Raises:
        CoalmError: `folder` holds no model.
    """
    is_adapter = (folder / "adapter_config.json").is_file()
    if not is_adapter and not (folder / "config.json").is_file():
        raise CoalmError(f"{folder}: neither an adapter nor a model is in it")
    runs = collect(run_dir or folder) if run_dir or is_adapter else None
    text = render(recipe, is_adapter=is_adapter, runs=runs, manifest=_manifest(recipe, runs))
    write_text(folder / CARD, text)
    return folder / CARD


def render(
    recipe: "TrainingConfig", *, is_adapter: bool, runs: Runs | None, manifest: Any = None
) -> str:
    """Renders the card's text: what was not recorded is left out, never invented."""
    training = recipe.training
    hyperparameters = {
        "base model": recipe.model.model_name,
        "precision": recipe.model.torch_dtype_str,
        "longest sample": f"{recipe.model.model_max_length} tokens",
        "samples a device and step": training.per_device_train_batch_size,
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
        hyperparameters["LoRA"] = f"r={recipe.peft.lora_r}, alpha={recipe.peft.lora_alpha}"
        modules = recipe.peft.lora_target_modules
        hyperparameters["LoRA on"] = ", ".join(modules) if modules else "the default of peft"
        if recipe.peft.q_lora:
            bits, kind = recipe.peft.q_lora_bits, recipe.peft.bnb_4bit_quant_type
            hyperparameters["quantisation"] = f"{bits} bits, {kind if bits == 4 else 'int8'}"
    environment = templates(Path(__file__).parent)
    return environment.get_template("card.jinja").render(
        version=__version__,
        base=recipe.model.model_name,
        is_adapter=is_adapter,
        datasets=[
            {"name": data.dataset_name, "path": data.dataset_path, "options": data.dataset_kwargs}
            for data in recipe.data.train.datasets
        ],
        samples=(manifest or {}).get("samples", {}),
        hyperparameters=hyperparameters,
        training=runs.training if runs else [],
        results=runs.results if runs else [],
    )


def push(folder: Path, repository: str) -> str:
    """Sends a model and its card to the Hugging Face Hub.

    Raises:
        CoalmError: The hub refuses it or cannot be reached.
    """
    message = "CoALM, trained with coalm-oumi"
    return hub.push(folder, repository, kind="model", files=_PATTERNS, message=message)


def _manifest(recipe: "TrainingConfig", runs: Runs | None) -> Any:
    """Returns the manifest of the mixture that the recipe names, else the only one of the run."""
    for data in recipe.data.train.datasets:
        file = Path(data.dataset_path or "nowhere") / "manifest.json"
        if file.is_file():
            return read_json(file)
    return runs.manifest if runs else None
