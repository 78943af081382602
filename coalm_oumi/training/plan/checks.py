"""Finds what would stop a run, or make it another run than intended, before weights load."""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from oumi.exceptions import HardwareException, OumiConfigError

from coalm_oumi.core.compat import finalize
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.finding import Finding
from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.memory import Memory, Moment, peak
from coalm_oumi.training.plan.setup import Setup, batch_changes, share_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from oumi.core.configs import TrainingConfig


def check_config(config: "TrainingConfig", *, place: str) -> None:
    """Runs the checks of `oumi train` on a configuration, on the machine that will train.

    Raises:
        CoalmError: Oumi refuses it.
    """
    try:
        finalize(config)
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


def check_kernels(setup: Setup, *, here: bool) -> Iterator[Finding]:
    """Checks that this machine has the fused kernels that the recipe asks for."""
    if here and setup.loss == "liger" and importlib.util.find_spec("liger_kernel") is None:
        yield Finding(
            False,
            "model.enable_liger_kernel needs liger-kernel, which is not installed",
            "pip install 'coalm-oumi[gpu]', or model.enable_liger_kernel=false "
            "training.trainer_kwargs.loss_type=chunked_nll",
        )


def check_adapters(setup: Setup) -> Iterator[Finding]:
    """Checks that the recipe does not cast adapters under FSDP, which casts them itself."""
    if setup.masters and setup.sharding != "none":
        yield Finding(
            False,
            "training.trainer_kwargs.adapter_dtype: FSDP casts adapters itself",
            "training.trainer_kwargs.adapter_dtype=null",
        )


def check_precision(config: "TrainingConfig", gpu: Gpu) -> Iterator[Finding]:
    """Checks that the GPU supports the data types that the recipe asks for: bfloat16, TF32."""
    if gpu.bf16:
        return
    kwargs, peft = config.training.trainer_kwargs, config.peft
    quantised = config.training.use_peft and peft.q_lora
    # TF32 came with the same generation of GPUs.
    asked = [
        (key, without)
        for key, value, without in (
            ("model.torch_dtype_str", config.model.torch_dtype_str, "float32"),
            (
                "training.mixed_precision_dtype",
                config.training.mixed_precision_dtype.value,
                "NONE",
            ),
            ("fsdp.mixed_precision", config.fsdp.mixed_precision, "null"),
            ("peft.bnb_4bit_compute_dtype", quantised and peft.bnb_4bit_compute_dtype, "float32"),
            ("training.trainer_kwargs.adapter_dtype", kwargs.get("adapter_dtype"), "float32"),
            ("training.trainer_kwargs.tf32", kwargs.get("tf32"), "false"),
        )
        if value in ("bfloat16", "bf16", True)
    ]
    if asked:
        yield Finding(
            False,
            f"{', '.join(key for key, _ in asked)}: {gpu.name} has neither bfloat16 nor TF32",
            " ".join(f"{key}={without}" for key, without in asked) + ", or an Ampere or newer GPU",
        )


def check_batch(setup: Setup, *, gpus: int, global_batch: int) -> Iterator[Finding]:
    """Checks that the recipe's batch on this many GPUs is the intended global batch."""
    own = gpus * setup.micro_batch * setup.accumulation
    if own == global_batch:
        return
    text = f"on {gpus} GPUs the recipe's global batch is {own}, not {global_batch}"
    count = max(n for n in range(1, gpus + 1) if global_batch % n == 0)
    shared = share_batch(setup, gpus=count, global_batch=global_batch)
    changes = batch_changes(setup, shared)
    if count != gpus:
        text += f", which cannot be split over {gpus}"
        changes.append(f"--gpus {count}")
    yield Finding(
        False, text, f"{' '.join(changes)}, or --global-batch {own}, which is another run"
    )


def check_memory(
    moments: "Mapping[Moment, Memory]",
    config: "TrainingConfig",
    gpu: Gpu,
    *,
    gpus: int,
    start: int,
    fix: "Callable[[], str | None]",
) -> Iterator[Finding]:
    """Checks that the run fits on the GPUs.

    Args:
        moments: The memory of one GPU.
        config: The recipe.
        gpu: The kind of GPU.
        gpus: How many.
        start: The bytes that one GPU holds before FSDP shards the model.
        fix: Finds changes with which the run fits.
    """
    if start > gpu.memory:
        changes = ["model.device_map=cpu"]
        if config.fsdp.enable_fsdp:
            changes += ["fsdp.enable_fsdp=false", "training.trainer_kwargs.fsdp=true"]
        yield Finding(
            False,
            f"the model is loaded whole on every {gpu.name} before FSDP shards it: "
            f"{start / 2**30:.1f} GiB of {gpu.memory / 2**30:.1f}",
            f"{' '.join(changes)}, with fsdp_config as in recipes/coalm_405b.yaml: the CPU loads "
            "it, and the trainer's own FSDP shards it",
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
    yield Finding(
        False,
        f"does not fit on {gpus} x {gpu.name}: {need / 2**30:.1f} GiB per GPU at the {when}, of "
        f"{gpu.memory / 2**30:.1f}",
        fix() or "take a shorter max_length, or GPUs with more memory",
    )


def memory_changes(setup: Setup) -> Iterator[Sequence[str]]:
    """Yields changes that save memory, starting with those that change the run least."""
    yield ()
    less: list[str] = []
    if setup.row_budget is not None and not 0 < setup.row_budget <= setup.tokens:
        less.append(f"training.trainer_kwargs.max_row_tokens={setup.tokens}")
        yield [*less]
    if not setup.checkpointing:
        less.append("training.enable_gradient_checkpointing=true")
        yield [*less]
    if setup.sharding != "none":
        return
    if setup.loss == "nll":
        yield [*less, "training.trainer_kwargs.loss_type=chunked_nll"]
    sharded = [change for change in less if "max_row_tokens" not in change]
    if setup.row_budget is not None:
        sharded.append("training.trainer_kwargs.max_row_tokens=null")  # FSDP takes whole rows
    if setup.masters:
        sharded.append("training.trainer_kwargs.adapter_dtype=null")
    yield [
        *sharded,
        "fsdp.enable_fsdp=true",
        "fsdp.sharding_strategy=FULL_SHARD",
        "fsdp.auto_wrap_policy=TRANSFORMER_BASED_WRAP",
    ]
