"""The time of a step: the host launches kernels while the GPU computes, and the slower decides.

Both rates are ranges. `benchmarks/launches.py` counts a step's kernels, and
`tests/training/plan/test_speed.py` compares the numbers here with what a small model dispatches.
"""

from dataclasses import dataclass

from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.setup import Setup
from coalm_oumi.training.plan.shape import ModelShape
from coalm_oumi.training.plan.span import Span

LAUNCH = Span(45e-6, 82e-6)
"""Seconds of the host per kernel.

The high end: an H100's host took 743 ms for a step of the 8B recipe that launched 9,036 kernels
(`benchmarks/train_on_gpu.py`). The low end: the operators alone, without a GPU's driver, in
`benchmarks/launches.py`.
"""
USED = Span(0.16, 0.40)
"""The share of the GPU's speed that the arithmetic reaches, recomputation and padding included.

The low end is measured on an H100 with padded or masked rows: 0.16 with the settings that Oumi
published, 0.17 with packed rows. The high end is what others report for LoRA of an 8B model on one
H100 with Flash Attention, about 10,000 tokens/s.
"""

_FORWARD, _BACKWARD = 38, 59
"""Kernels of one Llama layer in Transformers with frozen weights, forward and backward."""
_FULL_BACKWARD = 70
"""Kernels of the layer's backward pass if all weights are trained."""
_ADAPTER = {False: (4, 6), True: (6, 9)}
"""Kernels that LoRA adds to a linear layer. True: its data type differs from the layer's."""
_MASK = 3, 2
"""Kernels that repeat keys and values for each query head, which SDPA needs under a mask."""
_FUSED = 24, 42
"""Kernels per layer that Liger saves by fusing norms, SwiGLU and rotary positions."""
_OUTSIDE = 40
"""Embedding, mask, positions, final norm and loss."""
_UPDATE = {"adamw_torch": 5.0, "adamw_torch_fused": 2.5}
"""Kernels per group of `_GROUP` parameters, by optimizer; an unknown one counts as the first."""
_GROUP = 36


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one optimizer step on one GPU.

    Attributes:
        host: The time of the host, to launch kernels.
        gpu: The time of the GPU, to compute.
    """

    host: Span
    gpu: Span


def speed_of_step(
    shape: ModelShape, setup: Setup, *, tokens: float, work: float, gpu: Gpu
) -> Speed:
    """Estimates one optimizer step, without FSDP's communication.

    Args:
        shape: The model.
        setup: The training settings.
        tokens: The mean number of tokens per sample.
        work: Floating-point operations of one micro-batch, as `flops_per_token` counts them.
        gpu: The kind of GPU.
    """
    whole = not shape.adapted
    # Recomputing the forward pass adds two operations per weight to its four, or six.
    repeated = (8 / 6 if whole else 6 / 4) if setup.checkpointing else 1.0
    seconds = setup.accumulation * work * repeated / (gpu.tflops * 1e12)
    return Speed(
        host=LAUNCH * kernels_of_step(shape, setup, tokens=tokens),
        gpu=Span(seconds / USED.high, seconds / USED.low),
    )


def kernels_of_step(shape: ModelShape, setup: Setup, *, tokens: float) -> float:
    """Counts the kernels of one optimizer step on one GPU.

    Args:
        shape: The model.
        setup: The training settings.
        tokens: The mean number of tokens per sample, which decides into how many parts a row is
            split.
    """
    parts = 1
    if setup.row_budget:
        parts = -(-setup.micro_batch // max(1, int(setup.row_budget // tokens)))
    trained = shape.layers * (2 * len(shape.adapted) if shape.adapted else 9)
    update = trained / _GROUP * _UPDATE.get(setup.optimizer, _UPDATE["adamw_torch"])
    return setup.accumulation * parts * kernels_of_pass(shape, setup) + update


def kernels_of_pass(shape: ModelShape, setup: Setup) -> float:
    """Counts the kernels of one forward and backward pass."""
    forward, backward = _FORWARD, _BACKWARD if shape.adapted else _FULL_BACKWARD
    to_forward, to_backward = _ADAPTER[setup.trained_bytes != setup.activation_bytes]
    forward += to_forward * len(shape.adapted)
    backward += to_backward * len(shape.adapted)
    if setup.masked:
        forward, backward = forward + _MASK[0], backward + _MASK[1]
    if setup.loss == "liger":
        forward, backward = forward - _FUSED[0], backward - _FUSED[1]
    recomputed = forward if setup.checkpointing else 0
    return shape.layers * (forward + backward + recomputed) + _OUTSIDE
