"""What a recipe says about memory and time, read through Oumi's own configuration class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from oumi.exceptions import OumiConfigError

from coalm_oumi.errors import CoalmError

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig

Sharding = Literal["none", "full", "optimizer", "node"]
Loss = Literal["nll", "chunked_nll", "liger"]

_SHARDING: dict[str, Sharding] = {
    "FULL_SHARD": "full",
    "SHARD_GRAD_OP": "optimizer",
    "HYBRID_SHARD": "node",
    "NO_SHARD": "none",
}
_OPTIMIZER_BYTES = {
    "adamw_torch": (2.0, 0.0),
    "adamw_torch_fused": (2.0, 0.0),
    "adamw_bnb_8bit": (0.0, 2.0),
    "adamw_8bit": (0.0, 2.0),
    "paged_adamw_8bit": (0.0, 2.0),
    "sgd": (0.0, 0.0),
}
"""Of each optimizer, the states: how many copies in the parameters' own type, and bytes beside."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a recipe trains.

    Attributes:
        tokens: Tokens of the longest sequence in a batch.
        micro_batch: Sequences that one GPU takes at once.
        accumulation: Micro-batches to a step.
        weight_bytes: Bytes of a frozen or trained weight that is not quantised, at rest.
        activation_bytes: Bytes of a number in the residual stream.
        trained_bytes: Bytes of a trained parameter, of an adapter or of the whole model.
        four_bit: Whether linear layers are quantised to 4 bits (QLoRA).
        nested: Whether the constants of quantisation are quantised too (double quantisation).
        compute_bytes: Bytes of a dequantised weight.
        checkpointing: Whether layers are recomputed in the backward pass.
        optimizer: Oumi's name of the optimizer.
        sharding: What FSDP shards: nothing (DDP), everything, all but weights in use, or
            everything within a node only.
        wrapped: Whether FSDP gathers layer by layer, and not the model in one piece.
        loss: How the loss meets the logits.
    """

    tokens: int
    micro_batch: int
    accumulation: int
    weight_bytes: int
    activation_bytes: int
    trained_bytes: int
    four_bit: bool
    nested: bool
    compute_bytes: int
    checkpointing: bool
    optimizer: str
    sharding: Sharding
    wrapped: bool
    loss: Loss

    @property
    def optimizer_bytes(self) -> float:
        """Bytes of optimizer state to a trained parameter."""
        copies, beside = _OPTIMIZER_BYTES[self.optimizer]
        return copies * self.trained_bytes + beside


def read_recipe(path: Path, changes: Sequence[str] = ()) -> "TrainingConfig":
    """Reads a training recipe as `oumi train` does.

    Args:
        path: The recipe.
        changes: Changes to it, `key=value`.

    Raises:
        CoalmError: An unknown key or a bad value.
    """
    from oumi.core.configs import TrainingConfig

    for change in changes:
        if "=" not in change:
            raise CoalmError(f"{change}: expected KEY=VALUE, such as training.max_steps=10")
    try:
        return TrainingConfig.from_yaml_and_arg_list(str(path), list(changes))
    except OumiConfigError as error:
        first, *_ = str(error).splitlines()
        raise CoalmError(f"{path}: {first}") from error
    except (ValueError, yaml.YAMLError) as error:  # such as an unknown torch_dtype_str
        raise CoalmError(f"{path}: {' '.join(str(error).split())}") from error


def read_setup(config: "TrainingConfig") -> Setup:
    """Takes from a configuration what memory and time depend on.

    Raises:
        CoalmError: It trains in a way that the plan does not know.
    """
    training, peft, fsdp = config.training, config.peft, config.fsdp
    if config.deepspeed.enable_deepspeed:
        raise CoalmError("deepspeed.enable_deepspeed: the plan knows DDP and FSDP only")
    if fsdp.enable_fsdp and fsdp.cpu_offload:
        raise CoalmError("fsdp.cpu_offload: the plan knows weights on the GPU only")
    if config.model.model_max_length is None:
        raise CoalmError("model.model_max_length: set it, memory depends on it")
    if training.optimizer not in _OPTIMIZER_BYTES:
        raise CoalmError(
            f"training.optimizer {training.optimizer}: the plan knows {', '.join(_OPTIMIZER_BYTES)}"
        )
    quantised = training.use_peft and peft.q_lora
    if quantised and peft.q_lora_bits != 4:
        raise CoalmError(f"peft.q_lora_bits {peft.q_lora_bits}: the plan knows 4 bits only")
    sharding = _SHARDING.get(fsdp.sharding_strategy.value) if fsdp.enable_fsdp else "none"
    if sharding is None:
        raise CoalmError(
            f"fsdp.sharding_strategy {fsdp.sharding_strategy.value}: the plan knows "
            f"{', '.join(_SHARDING)}"
        )

    size = config.model.torch_dtype.itemsize if config.model.torch_dtype else 4
    if quantised and not fsdp.enable_fsdp:
        size = 4  # peft's prepare_model_for_kbit_training casts what is not in 4 bits to float32
    if not training.use_peft:
        trained = size
    elif quantised and not fsdp.mixed_precision:
        trained = 2  # TRL casts the adapters of a quantised model to bfloat16
    else:
        trained = 4  # peft casts adapters to float32, as FSDP's mixed precision does
    if not training.use_peft and fsdp.enable_fsdp and fsdp.mixed_precision:
        trained = 4
    return Setup(
        tokens=config.model.model_max_length,
        micro_batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        weight_bytes=trained if not training.use_peft else size,
        activation_bytes=2 if fsdp.enable_fsdp and fsdp.mixed_precision else size,
        trained_bytes=trained,
        four_bit=quantised,
        nested=peft.use_bnb_nested_quant,
        compute_bytes=4 if peft.bnb_4bit_compute_dtype in ("float32", "float", "f32") else 2,
        checkpointing=training.enable_gradient_checkpointing,
        optimizer=training.optimizer,
        sharding=sharding,
        wrapped=training.use_peft or fsdp.auto_wrap_policy.value != "NO_WRAP",
        loss=_loss(config),
    )


def _loss(config: "TrainingConfig") -> Loss:
    kwargs = config.training.trainer_kwargs
    if kwargs.get("use_liger_kernel"):
        return "liger"
    return "chunked_nll" if kwargs.get("loss_type") == "chunked_nll" else "nll"
