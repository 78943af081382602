"""The memory of one GPU at the three moments where a training step may peak.

The bytes of activations follow Korthikanti et al. (2022), "Reducing Activation Recomputation in
Large Transformer Models", section 4: count what each operation keeps for the backward pass. The
terms here are those of Llama-like layers in Transformers (RMSNorm in float32, SwiGLU, grouped
queries, flash attention) with peft's LoRA, which keeps a float32 copy of its input if the model is
in bfloat16. 4-bit weights follow Dettmers et al. (2023), "QLoRA", section 3; sharding follows
Zhao et al. (2023), "PyTorch FSDP". The tests compare this with the allocator's peak in real steps.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from coalm_oumi.training.plan.setup import Setup
from coalm_oumi.training.plan.shape import ModelShape

Moment = str
MOMENTS: tuple[Moment, ...] = ("loss", "backward", "optimizer step")

CONTEXT = 2 * 2**30
"""Bytes for CUDA context, cuBLAS and NCCL, besides tensors. Assumed, not measured."""
FRAGMENTATION = 0.05
"""The share of temporary tensors that the caching allocator wastes. Assumed."""

_BLOCK, _NESTED_BLOCK = 64, 256
"""Weights per constant, and constants per second-level constant (QLoRA, section 3)."""
_CHUNK = 256
"""Tokens per chunk of TRL's `chunked_nll`, which takes only tokens with a loss."""
NODE = 8
"""GPUs per node."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU at one moment.

    Attributes:
        weights: The model's weights at rest; under FSDP the GPU's shard of them.
        constants: The constants of 4-bit quantisation. FSDP does not shard them, because they
            belong to bitsandbytes' layers and not to the parameters.
        lora: The adapters' weights.
        gradients: Gradients of trained parameters; under DDP its buckets as well.
        optimizer: Optimizer states, and during the step its temporary tensors.
        activations: Activations that are kept for the backward pass.
        workspace: Gradients of activations, gradients of weights before FSDP scatters them, and the
            4-bit weight that is currently dequantised.
        gathered: Weights that FSDP has gathered from the other GPUs.
        logits: Logits, their log-softmax and gradient.
        overhead: `CONTEXT` and `FRAGMENTATION`.
    """

    weights: int
    constants: int
    lora: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int
    gathered: int
    logits: int
    overhead: int

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return sum(asdict(self).values())

    @property
    def tensors(self) -> int:
        """All but the overhead: what `torch.cuda.max_memory_allocated` counts."""
        return self.total - self.overhead


def peak(moments: Mapping[Moment, Memory]) -> Moment:
    """Returns the moment that needs most."""
    return max(moments, key=lambda moment: moments[moment].total)


@dataclass(frozen=True, slots=True)
class _Resident:
    """Bytes that stay on one GPU from step to step, and those of gradients.

    Attributes:
        weights: See `Memory`.
        constants: See `Memory`.
        lora: See `Memory`.
        states: The optimizer's states.
        gradients: Gradients of trained parameters, with DDP's buckets.
        buckets: DDP's buckets, which are allocated at the start.
        temporary: The tensor that the unfused AdamW computes for all parameters at once, and the
            gradients of float32 masters.
        sharded: Whether FSDP spreads the weights.
    """

    weights: int
    constants: int
    lora: int
    states: int
    gradients: int
    buckets: int
    temporary: int
    sharded: bool

    def holding(self, *, gradients: int, optimizer: int = 0, **fleeting: int) -> Memory:
        """Adds the other bytes of a moment: activations, workspace, gathered, logits."""
        parts = {"activations": 0, "workspace": 0, "gathered": 0, "logits": 0} | fleeting
        comes_and_goes = gradients + sum(parts.values())
        return Memory(
            weights=self.weights,
            constants=self.constants,
            lora=self.lora,
            gradients=gradients,
            optimizer=self.states + optimizer,
            overhead=CONTEXT + int(FRAGMENTATION * comes_and_goes),
            **parts,
        )


def plan_memory(shape: ModelShape, setup: Setup, *, gpus: int) -> dict[Moment, Memory]:
    """Counts the memory of one GPU of `gpus`.

    Returns:
        The memory at each of `MOMENTS`. At the loss it holds the logits and the activations of all
        layers. In the backward pass it holds one layer's gradients, and its activations once more
        if they are recomputed. In the step it holds gradients and states.
    """
    resident = _resident(shape, setup, gpus=gpus)
    root, layer = _gathered(shape, setup, sharded=resident.sharded)
    outside, one_layer = _activations(shape, setup)
    kept = _boundary(shape, setup) if setup.checkpointing else one_layer
    # Gradients of earlier micro-batches are there from the start of the next one's backward pass.
    before = resident.gradients if setup.accumulation > 1 else resident.buckets
    return {
        "loss": resident.holding(
            gradients=before,
            activations=outside + shape.layers * kept,
            gathered=root + layer,
            logits=_logits(shape, setup),
        ),
        "backward": _backward(shape, setup, resident, before=before, gathered=root + 2 * layer),
        "optimizer step": resident.holding(
            gradients=resident.gradients, optimizer=resident.temporary, gathered=root
        ),
    }


def _backward(
    shape: ModelShape, setup: Setup, resident: _Resident, *, before: int, gathered: int
) -> Memory:
    """Counts the backward pass at the last layer, where it starts, or at the first if larger."""
    outside, one_layer = _activations(shape, setup)
    kept = _boundary(shape, setup) if setup.checkpointing else one_layer
    recomputed = one_layer if setup.checkpointing else 0
    workspace = _workspace(shape, setup, sharded=resident.sharded)
    last = resident.holding(
        gradients=before,
        activations=outside + shape.layers * kept + recomputed,
        workspace=workspace,
        gathered=gathered,
    )
    first = resident.holding(
        gradients=resident.gradients,
        activations=kept + recomputed,
        workspace=workspace,
        gathered=gathered,
    )
    return max(last, first, key=lambda memory: memory.total)


def _resident(shape: ModelShape, setup: Setup, *, gpus: int) -> _Resident:
    """Counts what stays on one GPU."""
    shards = {"none": 1, "full": gpus, "optimizer": gpus, "node": min(gpus, NODE)}[setup.sharding]
    rest, constants = _weights(shape, setup)
    trained = shape.trainable * setup.trained_bytes // shards
    buckets = trained if setup.sharding == "none" and gpus > 1 else 0
    on_gpu = not setup.offload  # all that is sharded waits on the CPU, the optimizer runs there too
    temporary = trained if setup.optimizer == "adamw_torch" else 0
    if setup.masters:  # their gradients, in float32
        temporary = 2 * temporary + 4 * shape.trainable // shards
    return _Resident(
        weights=on_gpu * (rest // shards),
        constants=constants,
        lora=on_gpu * trained if shape.adapted else 0,
        states=on_gpu * (int(shape.trainable * setup.optimizer_bytes) // shards),
        gradients=on_gpu * (trained + buckets),
        buckets=buckets,
        temporary=on_gpu * temporary,
        sharded=shards > 1 or setup.offload,
    )


def plan_start(shape: ModelShape, setup: Setup) -> int:
    """Counts what one GPU holds, in bytes, before FSDP shards the model it has loaded."""
    if not setup.whole_at_start:
        return 0
    # What is not in 4 bits is in float32 for a while, see `read_setup`.
    loaded = replace(setup, weight_bytes=4) if setup.four_bit else setup
    return sum(_weights(shape, loaded)) + CONTEXT


def _weights(shape: ModelShape, setup: Setup) -> tuple[int, int]:
    """Bytes of all weights at rest, and of the constants of quantisation."""
    if not setup.four_bit:
        return shape.parameters * setup.weight_bytes, 0
    linear = shape.layers * shape.layer_linear
    blocks = math.ceil(linear / _BLOCK)
    constants = blocks + 4 * math.ceil(blocks / _NESTED_BLOCK) if setup.nested else 4 * blocks
    return linear // 2 + (shape.parameters - linear) * setup.weight_bytes, constants


def _boundary(shape: ModelShape, setup: Setup) -> int:
    """Bytes of a layer's input: with checkpointing, nothing else of the layer is kept."""
    return setup.tokens_at_once * shape.hidden * setup.activation_bytes


def _activations(shape: ModelShape, setup: Setup) -> tuple[int, int]:
    """Bytes kept for the backward pass outside the layers, and by one layer."""
    size, rank = setup.activation_bytes, shape.rank
    hidden, wide = shape.hidden, shape.intermediate
    whole = not shape.adapted  # all weights are trained, so linear layers keep their inputs
    copies = bool(shape.adapted) and setup.trained_bytes != size
    names = {name for name, _ in shape.adapted}
    fused = setup.loss == "liger"

    # RMSNorm keeps its input in float32, which is a copy unless the model is in float32. Liger's
    # kernel recomputes from the input itself.
    norm = size * hidden if fused else 4 * hidden
    if whole and not fused:
        norm += size * hidden  # the normalised input, for the gradient of the norm's weight
    # Queries, keys, values, output and log-sum-exp. Under a mask, Transformers repeats keys and
    # values for each query head.
    key = shape.query if setup.masked else shape.key
    attention = size * (2 * shape.query + 2 * key) + 4 * shape.heads
    mlp = size * wide * (2 if fused else 3)  # gate and up, and silu(gate), which Liger recomputes
    if copies:
        inputs = sum(setup.trained_bytes * width for _, width in shape.adapted)
    else:
        # Neighbours share their input, and o_proj's is the attention's output, kept already.
        inputs = size * hidden * bool(whole or names & {"q_proj", "k_proj", "v_proj"})
        inputs += size * hidden * bool(whole or names & {"gate_proj", "up_proj"})
        inputs += size * wide * bool(whole or "down_proj" in names)
    between = setup.trained_bytes * rank * len(shape.adapted)  # the adapters' narrow middle
    layer = 2 * norm + attention + mlp + inputs + between
    # The embeddings' output, the final norm, and the input of the output layer where it is trained.
    outside = size * hidden + norm + (size * hidden if whole else 0)
    sequence = setup.tokens_at_once
    return sequence * outside, sequence * layer


def _workspace(shape: ModelShape, setup: Setup, *, sharded: bool) -> int:
    """Bytes that the backward pass of one layer holds temporarily."""
    size, wide = setup.activation_bytes, shape.intermediate
    # At the MLP's output layer: the gradients of its input and of its output. An adapter there in
    # another type gives a second one, which is cast before the two are summed.
    gradient = size * (wide + shape.hidden)
    if not shape.adapted or any(name == "down_proj" for name, _ in shape.adapted):
        gradient += setup.trained_bytes * shape.hidden
        if shape.adapted and setup.trained_bytes != size:
            gradient += (setup.trained_bytes + size) * wide
    total = setup.tokens_at_once * gradient
    if not shape.adapted and sharded:
        total += setup.activation_bytes * (shape.layer_parameters + shape.root_parameters)
    if setup.four_bit:
        # One weight is dequantised at a time, and gone before the two gradients are summed.
        total = max(total, setup.compute_bytes * shape.largest_linear + total // 2)
    return total


def _gathered(shape: ModelShape, setup: Setup, *, sharded: bool) -> tuple[int, int]:
    """Bytes that FSDP gathers: those outside the layers, and those of one layer.

    The outermost unit stays gathered from the forward to the backward pass. Two layers are gathered
    at a time, one in use and one fetched ahead.
    """
    if not sharded:
        return 0, 0
    size = setup.activation_bytes
    root = shape.root_parameters * size
    other = shape.layer_parameters - shape.layer_linear
    layer = other * size + (
        shape.layer_linear // 2 if setup.four_bit else shape.layer_linear * size
    )
    if not setup.wrapped or setup.sharding == "optimizer":
        return root + shape.layers * layer, 0
    return root, layer


def _logits(shape: ModelShape, setup: Setup) -> int:
    """Bytes at the loss, where the logits are turned into their own gradient."""
    sequence, size = setup.tokens_at_once, setup.activation_bytes
    if setup.loss == "liger":
        # A chunk has so few tokens that its logits are no larger than the hidden states.
        chunk = sequence / math.ceil(shape.vocabulary / shape.hidden)
        chunk = min(sequence, 2 ** math.ceil(math.log2(max(chunk, 1))))
        return chunk * shape.vocabulary * (size + 4) + sequence * shape.hidden * size
    if setup.loss == "chunked_nll":
        # The same for one chunk, and the output layer's weight in float32. 14 is what was measured.
        copy = 4 * shape.vocabulary * shape.hidden * (size != 4)
        return 14 * min(_CHUNK, sequence) * shape.vocabulary + copy
    # The log-softmax, its gradient and that of the logits, all in float32.
    return 12 * sequence * shape.vocabulary
