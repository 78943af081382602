"""The settings of a recipe that decide memory and time, read by Oumi's configuration class."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.training.trainer_options import TrainerOptions

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
# The trainer's own `fsdp_config` may hold a bool, as for FSDP 2.
_RESHARDING: dict[object, Sharding] = {**_SHARDING, True: "full", False: "optimizer"}
_OPTIMIZER_BYTES = {
    "adamw_torch": (2.0, 0.0),
    "adamw_torch_fused": (2.0, 0.0),
    "adamw_bnb_8bit": (0.0, 2.0),
    "adamw_8bit": (0.0, 2.0),
    "paged_adamw_8bit": (0.0, 2.0),
    "sgd": (0.0, 0.0),
}
"""States per parameter by optimizer: copies in the parameters' data type, and further bytes."""


class FsdpConfig(Options):
    """What the plan reads of the trainer's own `fsdp_config`."""

    model_config = ConfigDict(extra="ignore")

    reshard_after_forward: bool | str = True
    auto_wrap_policy: str | None = None
    activation_checkpointing: bool = False
    cpu_offload: bool = False
    offload_params: bool = False


class TrainerKwargs(TrainerOptions):
    """What the plan reads of `training.trainer_kwargs`."""

    model_config = ConfigDict(extra="ignore")

    padding_free: bool | None = None
    use_liger_kernel: bool | None = None
    loss_type: str | None = None
    fsdp: bool | str | list[str] | None = None
    fsdp_config: FsdpConfig | None = None


class DatasetKwargs(Options):
    """What the plan reads of the `dataset_kwargs` of any dataset."""

    model_config = ConfigDict(extra="ignore")

    max_length: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class Setup:
    """The training settings of a recipe.

    Attributes:
        tokens: Tokens of the longest sequence in a batch.
        micro_batch: Sequences that one GPU takes at once.
        row_budget: The tokens of a row without padding that are computed at once
            (`max_row_tokens`), 0 for all; None if batches are padded.
        accumulation: Micro-batches per step.
        weight_bytes: Bytes of a frozen or trained weight that is not quantised, at rest.
        activation_bytes: Bytes of a number in the residual stream.
        trained_bytes: Bytes of a trained parameter, of an adapter or of the whole model.
        masters: Whether the optimizer keeps float32 masters of the trained parameters.
        four_bit: Whether linear layers are quantised to 4 bits (QLoRA).
        nested: Whether the constants of quantisation are quantised too (double quantisation).
        compute_bytes: Bytes of a dequantised weight.
        checkpointing: Whether layers are recomputed in the backward pass.
        optimizer: Oumi's name of the optimizer.
        sharding: What FSDP shards: nothing (DDP), everything, all but weights in use, or
            everything within a node only.
        wrapped: Whether FSDP gathers layer by layer, and not the model in one piece.
        offload: Whether FSDP keeps weights, gradients and optimizer states on the CPU.
        whole_at_start: Whether each GPU loads the whole model before FSDP shards it.
        loss: How the loss is computed from the logits.
    """

    tokens: int
    micro_batch: int
    row_budget: int | None
    accumulation: int
    weight_bytes: int
    activation_bytes: int
    trained_bytes: int
    masters: bool
    four_bit: bool
    nested: bool
    compute_bytes: int
    checkpointing: bool
    optimizer: str
    sharding: Sharding
    wrapped: bool
    offload: bool
    whole_at_start: bool
    loss: Loss

    @property
    def tokens_at_once(self) -> int:
        """The most tokens that one forward pass sees. A sequence is never cut."""
        whole = self.micro_batch * self.tokens
        return min(whole, max(self.row_budget, self.tokens)) if self.row_budget else whole

    @property
    def masked(self) -> bool:
        """True if attention gets a mask, for padding or between the samples of a row."""
        return self.micro_batch > 1

    @property
    def optimizer_bytes(self) -> float:
        """Bytes of optimizer state per trained parameter."""
        copies, beside = _OPTIMIZER_BYTES[self.optimizer]
        if self.masters:
            return copies * 4 + beside + 4
        return copies * self.trained_bytes + beside


def read_setup(config: "TrainingConfig") -> Setup:
    """Reads from a configuration all that memory and time depend on.

    Raises:
        CoalmError: The plan does not know this way to train.
    """
    kwargs = read_kwargs(config)
    _check_known(config, kwargs)
    training, peft, fsdp = config.training, config.peft, read_fsdp(config, kwargs)
    tokens = longest(config)
    if tokens is None:
        raise CoalmError(
            "model.model_max_length: set it, or max_length in the dataset_kwargs of every dataset; "
            "memory depends on it"
        )
    quantised = training.use_peft and peft.q_lora
    size = config.model.torch_dtype.itemsize if config.model.torch_dtype else 4
    if quantised and not fsdp.used:
        # peft's prepare_model_for_kbit_training casts all that is not in 4 bits to float32. Under
        # FSDP Oumi casts it back.
        size = 4
    trained = _trained_bytes(config, kwargs, size)
    return Setup(
        tokens=tokens,
        micro_batch=training.per_device_train_batch_size,
        row_budget=(kwargs.max_row_tokens or 0) if kwargs.padding_free else None,
        accumulation=training.gradient_accumulation_steps,
        weight_bytes=size if training.use_peft else trained,
        activation_bytes=2 if config.fsdp.enable_fsdp and config.fsdp.mixed_precision else size,
        trained_bytes=trained,
        masters=training.use_peft and kwargs.adapter_dtype == "bfloat16",
        four_bit=quantised,
        nested=peft.use_bnb_nested_quant,
        compute_bytes=4 if peft.bnb_4bit_compute_dtype in ("float32", "float", "f32") else 2,
        checkpointing=training.enable_gradient_checkpointing or fsdp.checkpointing,
        optimizer=training.optimizer,
        sharding=fsdp.sharding,
        wrapped=training.use_peft or fsdp.wrapped,
        offload=fsdp.offload,
        whole_at_start=fsdp.sharding != "none" and _loads_whole(config, quantised=quantised),
        loss=_loss(config, kwargs),
    )


def _check_known(config: "TrainingConfig", kwargs: TrainerKwargs) -> None:
    """Refuses a way to train that the plan does not know."""
    training, peft = config.training, config.peft
    if training.trainer_type.value not in ("trl_sft", "hf"):
        raise CoalmError(
            f"training.trainer_type {training.trainer_type.name}: the plan knows supervised "
            "fine-tuning only (TRL_SFT, HF)"
        )
    if config.deepspeed.enable_deepspeed:
        raise CoalmError("deepspeed.enable_deepspeed: the plan knows DDP and FSDP only")
    for key, value in (
        ("model.model_max_length", config.model.model_max_length),
        ("training.per_device_train_batch_size", training.per_device_train_batch_size),
        ("training.gradient_accumulation_steps", training.gradient_accumulation_steps),
    ):
        if value is not None and value < 1:
            raise CoalmError(f"{key}: expected a number above 0, found {value}")
    if training.optimizer not in _OPTIMIZER_BYTES:
        raise CoalmError(
            f"training.optimizer {training.optimizer}: the plan knows {', '.join(_OPTIMIZER_BYTES)}"
        )
    if training.use_peft and peft.q_lora and peft.q_lora_bits != 4:
        raise CoalmError(f"peft.q_lora_bits {peft.q_lora_bits}: the plan knows 4 bits only")
    has_adapters = training.use_peft or config.model.adapter_model
    if kwargs.adapter_dtype is not None and not has_adapters:
        raise CoalmError(
            "training.trainer_kwargs.adapter_dtype: the model has no adapters; set "
            "training.use_peft=true, or training.trainer_kwargs.adapter_dtype=null"
        )


def _trained_bytes(config: "TrainingConfig", kwargs: TrainerKwargs, size: int) -> int:
    """Returns the bytes of a trained parameter, where the model's own have `size`."""
    mixed = bool(config.fsdp.mixed_precision)
    if not config.training.use_peft:
        return 4 if config.fsdp.enable_fsdp and mixed else size
    if kwargs.adapter_dtype == "bfloat16":
        return 2
    if config.peft.q_lora and not mixed:
        return 2  # TRL casts the adapters of a quantised model to bfloat16
    return 4  # peft casts adapters to float32, as FSDP's mixed precision does


def read_kwargs(config: "TrainingConfig") -> TrainerKwargs:
    """Reads `training.trainer_kwargs`, whose values Oumi passes on as they are.

    Raises:
        CoalmError: A value has another type.
    """
    return TrainerKwargs.read(config.training.trainer_kwargs, where="training.trainer_kwargs")


def share_batch(setup: Setup, *, gpus: int, global_batch: int) -> Setup:
    """Shares a global batch among GPUs with as few changes as possible.

    Rows without padding get shorter. The number of padded samples at once stays, if the batch
    allows it, and their accumulation changes. A GPU takes at least one sample.
    """
    each = max(1, global_batch // gpus)
    if setup.row_budget is None:
        micro = math.gcd(setup.micro_batch, each)
        return replace(setup, micro_batch=micro, accumulation=each // micro)
    accumulation = math.gcd(setup.accumulation, each)
    return replace(setup, micro_batch=each // accumulation, accumulation=accumulation)


def batch_changes(setup: Setup, shared: Setup) -> list[str]:
    """Returns the changes to a recipe, `key=value`, that make the batch of one setup another's."""
    keys = {
        "training.per_device_train_batch_size": (setup.micro_batch, shared.micro_batch),
        "training.gradient_accumulation_steps": (setup.accumulation, shared.accumulation),
    }
    return [f"{key}={new}" for key, (old, new) in keys.items() if old != new]


def longest(config: "TrainingConfig") -> int | None:
    """Returns the tokens of the longest sequence, or None if a recipe sets no bound.

    The model's length is the trainer's. A recipe without it sets one for each dataset.
    """
    if config.model.model_max_length is not None:
        return config.model.model_max_length
    lengths: list[int] = []
    for number, data in enumerate(config.data.train.datasets):
        where = f"data.train.datasets[{number}].dataset_kwargs"
        length = DatasetKwargs.read(data.dataset_kwargs, where=where).max_length
        if length is None:
            return None
        lengths.append(length)
    return max(lengths, default=None)


@dataclass(frozen=True, slots=True)
class Fsdp:
    """The FSDP settings of a recipe; see `Setup`."""

    used: bool = False
    sharding: Sharding = "none"
    wrapped: bool = False
    checkpointing: bool = False
    offload: bool = False


def read_fsdp(config: "TrainingConfig", kwargs: TrainerKwargs) -> Fsdp:
    """Reads Oumi's `fsdp` section, or the trainer's own `fsdp_config` if a recipe has one.

    Raises:
        CoalmError: It names a strategy that the plan does not know.
    """
    fsdp = config.fsdp
    if fsdp.enable_fsdp:
        return Fsdp(
            used=True,
            sharding=_SHARDING[fsdp.sharding_strategy.value],
            wrapped=fsdp.auto_wrap_policy.value != "NO_WRAP",
            offload=fsdp.cpu_offload,
        )
    if not kwargs.fsdp:
        return Fsdp()
    own = kwargs.fsdp_config or FsdpConfig()
    strategy = own.reshard_after_forward
    if strategy not in _SHARDING and not isinstance(strategy, bool):
        raise CoalmError(
            f"training.trainer_kwargs.fsdp_config.reshard_after_forward {strategy}: the plan "
            f"knows {', '.join(_SHARDING)}"
        )
    return Fsdp(
        used=True,
        sharding=_RESHARDING[strategy],
        wrapped=own.auto_wrap_policy != "NO_WRAP",
        checkpointing=own.activation_checkpointing,
        offload=own.cpu_offload or own.offload_params,
    )


def _loads_whole(config: "TrainingConfig", *, quantised: bool) -> bool:
    """Returns True if a process loads the model onto its GPU before FSDP shards it.

    With an `fsdp` section, Oumi passes no `device_map`. Transformers then loads onto the CPU, or
    for bitsandbytes onto the process's GPU. Without the section, Oumi resolves `auto` to the
    process's GPU.
    """
    if config.fsdp.enable_fsdp:
        return quantised
    return config.model.device_map != "cpu"


def _loss(config: "TrainingConfig", kwargs: TrainerKwargs) -> Loss:
    if kwargs.use_liger_kernel or config.model.enable_liger_kernel:
        return "liger"
    return "chunked_nll" if kwargs.loss_type == "chunked_nll" else "nll"
