"""What would stop a run, or make it another run than meant, known before weights load."""

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oumi.exceptions import HardwareException, OumiConfigError

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.finding import Finding
from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.memory import Memory, Moment, peak
from coalm_oumi.training.plan.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oumi.core.configs import TrainingConfig


def check_config(config: "TrainingConfig", *, place: str) -> None:
    """Runs the checks of `oumi train` on a configuration, on the machine that is to train.

    Raises:
        CoalmError: Oumi refuses it.
    """
    try:
        config.finalize_and_validate()
    except (OumiConfigError, HardwareException, ValueError) as error:
        raise CoalmError(f"{place}: {error}") from error


def check_quantisation(config: "TrainingConfig", setup: Setup, *, here: bool) -> Iterator[Finding]:
    """Checks 4-bit weights: bitsandbytes (on this machine), and storage that FSDP can shard."""
    if not setup.four_bit:
        return
    if here and importlib.util.find_spec("bitsandbytes") is None:
        yield Finding(
            False,
            "peft.q_lora: bitsandbytes is not installed",
            "pip install bitsandbytes (Linux)",
        )
    storage, dtype = config.peft.bnb_4bit_quant_storage, config.model.torch_dtype_str
    if setup.sharding != "none" and storage != dtype:
        yield Finding(
            False,
            f"peft.bnb_4bit_quant_storage {storage}: FSDP shards 4-bit weights only where it is "
            f"the model's type, {dtype}",
            f"peft.bnb_4bit_quant_storage={dtype}",
        )


def check_precision(config: "TrainingConfig", gpu: Gpu) -> Iterator[Finding]:
    """Checks that the GPU has bfloat16 arithmetic where the recipe asks for it."""
    asked = [
        key
        for key, value in {
            "model.torch_dtype_str": config.model.torch_dtype_str,
            "training.mixed_precision_dtype": config.training.mixed_precision_dtype.value,
            "fsdp.mixed_precision": config.fsdp.mixed_precision,
            "peft.bnb_4bit_compute_dtype": config.training.use_peft
            and config.peft.q_lora
            and config.peft.bnb_4bit_compute_dtype,
        }.items()
        if value in ("bfloat16", "bf16")
    ]
    if asked and not gpu.bf16:
        yield Finding(
            False,
            f"{', '.join(asked)}: {gpu.name} has no bfloat16",
            "take an Ampere or newer GPU, or model.torch_dtype_str=float32 without the others",
        )


def check_batch(setup: Setup, *, gpus: int, global_batch: int) -> Iterator[Finding]:
    """Checks that the recipe's batch on so many GPUs is the global batch that is meant."""
    together = gpus * setup.micro_batch
    if global_batch % together:
        fitting = [
            n for n in range(1, global_batch + 1) if not global_batch % (n * setup.micro_batch)
        ]
        counts = ", ".join(map(str, fitting))
        fix = f"use {counts} GPUs" if fitting else "training.per_device_train_batch_size=1"
        if setup.row_budget is not None and global_batch % gpus == 0:
            fix = f"training.per_device_train_batch_size={global_batch // gpus}"
        yield Finding(
            False,
            f"a global batch of {global_batch} cannot be split over {gpus} GPUs with "
            f"training.per_device_train_batch_size={setup.micro_batch}",
            f"{fix}, or say --global-batch {_next_multiple(global_batch, together)}, which is "
            "another run",
        )
        return
    accumulation = global_batch // together
    if accumulation != setup.accumulation:
        fix = f"training.gradient_accumulation_steps={accumulation}"
        if setup.row_budget is not None and setup.accumulation == 1:
            fix = f"training.per_device_train_batch_size={global_batch // gpus}"
        yield Finding(
            False,
            f"on {gpus} GPUs the recipe's global batch is {together * setup.accumulation}, not "
            f"{global_batch}",
            fix,
        )


def check_memory(
    moments: "Mapping[Moment, Memory]",
    setup: Setup,
    gpu: Gpu,
    *,
    gpus: int,
    smallest: int | None,
    start: int,
) -> Iterator[Finding]:
    """Checks that the run fits on the GPUs, which starts with `start` bytes before FSDP shards."""
    if start > gpu.memory:
        yield Finding(
            False,
            f"the model is loaded whole on every {gpu.name} before FSDP shards it: "
            f"{start / 2**30:.1f} GiB of {gpu.memory / 2**30:.1f}",
            "load it on the CPU and shard it by the trainer's own FSDP (model.device_map=cpu, "
            "training.trainer_kwargs.fsdp), as recipes/coalm_405b.yaml does",
        )
        return
    when = peak(moments)
    need = moments[when].total
    if need <= gpu.memory:
        yield Finding(
            True,
            f"fits on {gpus} x {gpu.name}: {need / 2**30:.1f} GiB per GPU of "
            f"{gpu.memory / 2**30:.1f}",
        )
        return
    if smallest is not None:
        fix = f"it fits on {smallest} of them: --gpus {smallest}"
    elif setup.sharding == "none":
        fix = (
            "shard it: fsdp.enable_fsdp=true fsdp.sharding_strategy=FULL_SHARD "
            "fsdp.auto_wrap_policy=TRANSFORMER_BASED_WRAP"
        )
        if not setup.checkpointing:
            fix += ", and training.enable_gradient_checkpointing=true"
    elif not setup.checkpointing:
        fix = "training.enable_gradient_checkpointing=true"
    elif setup.loss == "nll" and when == "loss":
        fix = "training.trainer_kwargs.loss_type=chunked_nll, or a shorter model.model_max_length"
    else:
        fix = "peft.q_lora=true, a shorter model.model_max_length, or GPUs with more memory"
    yield Finding(
        False,
        f"does not fit on {gpus} x {gpu.name}: {need / 2**30:.1f} GiB per GPU at the {when}, of "
        f"{gpu.memory / 2**30:.1f}",
        fix,
    )


def _next_multiple(number: int, of: int) -> int:
    return -(-number // of) * of
