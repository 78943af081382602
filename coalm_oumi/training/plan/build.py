"""A recipe and a cluster in, the whole plan out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.finding import Finding
from coalm_oumi.training.plan import checks
from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.memory import NODE, Memory, Moment, peak, plan_memory, plan_start
from coalm_oumi.training.plan.schedule import (
    DataSize,
    Schedule,
    data_size,
    paper_training,
    plan_schedule,
)
from coalm_oumi.training.plan.setup import Setup, read_setup
from coalm_oumi.training.plan.shape import ModelShape, measure, read_config
from coalm_oumi.training.recipe import read_recipe

_COUNTS = (1, 2, 4, *range(NODE, 16 * NODE + 1, NODE))
"""Numbers of GPUs that are tried: parts of a node, then whole ones."""
_SHOWN = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One line of the table of clusters.

    Attributes:
        gpus: How many GPUs.
        memory: What one needs at its peak, in bytes.
        fits: Whether it has that much.
        schedule: The run on them.
    """

    gpus: int
    memory: int
    fits: bool
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        recipe: The recipe's file.
        shape: Its model.
        setup: How it trains.
        data: What it trains on.
        gpu: The kind of GPU.
        gpus: How many the memory is counted for.
        mfu: The share of the GPU's speed that the hours suppose.
        moments: The memory of one GPU.
        clusters: Other numbers of GPUs beside the chosen one.
        smallest: The smallest number of GPUs that fits, or None.
        findings: What was checked.
    """

    recipe: str
    shape: ModelShape
    setup: Setup
    data: DataSize
    gpu: Gpu
    gpus: int
    mfu: float
    moments: Mapping[Moment, Memory]
    clusters: Sequence[Cluster]
    smallest: int | None
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether the recipe can run as it stands on the chosen GPUs."""
        return all(finding.ok for finding in self.findings)


def make_plan(
    recipe: Path,
    gpu: Gpu,
    *,
    changes: Sequence[str] = (),
    gpus: int | None = None,
    here: bool = False,
    global_batch: int | None = None,
    mfu: float,
    network_gb_s: float,
    price: float | None = None,
    samples: int | None = None,
    tokens_per_sample: float | None = None,
) -> Plan:
    """Plans a recipe.

    Args:
        recipe: The recipe.
        gpu: The kind of GPU.
        changes: Changes to the recipe, `key=value`.
        gpus: How many; None takes as many as make the recipe's batch the one that is meant, or the
            smallest number that fits where that is more.
        here: Whether this is the machine that it is to run on.
        global_batch: The global batch that is meant; None takes the paper's.
        mfu: The share of the GPU's speed that is used.
        network_gb_s: 1e9 bytes a second a GPU to other nodes.
        price: Of one GPU-hour.
        samples: Samples in an epoch; None finds out.
        tokens_per_sample: Tokens in one; None finds out.

    Raises:
        CoalmError: Bad input, or a recipe of a kind that the plan does not know.
    """
    config = read_recipe(recipe, changes)
    if here:
        checks.check_config(config, place=str(recipe))
    setup = read_setup(config)
    peft = config.peft if config.training.use_peft else None
    model = config.model
    hf_config = read_config(model.model_name, trust_remote_code=model.trust_remote_code)
    shape = measure(model.model_name, hf_config, peft)
    data = data_size(config, samples=samples, tokens=tokens_per_sample)
    meant = global_batch or paper_training()["global_batch"]

    start = plan_start(shape, setup)

    def memory(count: int) -> dict[Moment, Memory]:
        return plan_memory(shape, setup, gpus=count)

    def cluster(count: int) -> Cluster:
        moments = memory(count)
        need = max(moments[peak(moments)].total, start)
        together = count * setup.micro_batch
        schedule = plan_schedule(
            shape,
            setup,
            data,
            gpu,
            gpus=count,
            epochs=config.training.num_train_epochs,
            max_steps=config.training.max_steps,
            global_batch=max(meant, together),
            mfu=mfu,
            network_gb_s=network_gb_s,
            price=price,
        )
        return Cluster(gpus=count, memory=need, fits=need <= gpu.memory, schedule=schedule)

    smallest = next((count for count in _COUNTS if cluster(count).fits), None)
    own = max(1, meant // (setup.micro_batch * setup.accumulation))
    chosen = gpus or max(smallest or own, own)
    moments = memory(chosen)
    findings = [
        *checks.check_memory(moments, setup, gpu, gpus=chosen, smallest=smallest, start=start),
        *checks.check_batch(setup, gpus=chosen, global_batch=meant),
        *checks.check_precision(config, gpu),
        *checks.check_quantisation(config, setup, here=here),
    ]
    counts = sorted({*_SHOWN, chosen, smallest or chosen})
    return Plan(
        recipe=str(recipe),
        shape=shape,
        setup=setup,
        data=data,
        gpu=gpu,
        gpus=chosen,
        mfu=mfu,
        moments=moments,
        clusters=[cluster(count) for count in counts],
        smallest=smallest,
        findings=findings,
    )
