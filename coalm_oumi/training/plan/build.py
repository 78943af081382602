"""Makes the whole plan from a recipe and a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coalm_oumi.core.finding import Finding
from coalm_oumi.training.plan import checks
from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.memory import NODE, Memory, Moment, peak, plan_memory, plan_start
from coalm_oumi.training.plan.schedule import (
    NETWORK_GB_S,
    Cluster,
    DataSize,
    Schedule,
    data_size,
    paper_training,
    plan_schedule,
)
from coalm_oumi.training.plan.setup import Setup, batch_changes, read_setup, share_batch
from coalm_oumi.training.plan.shape import ModelShape, measure, read_config
from coalm_oumi.training.recipe import read_recipe

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig

_COUNTS = (1, 2, 4, *range(NODE, 16 * NODE + 1, NODE))
"""Numbers of GPUs that are tried: parts of a node, then whole nodes."""
_SHOWN = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of a plan, besides the recipe and the kind of GPU.

    Attributes:
        changes: Changes to the recipe, `key=value`.
        gpus: The number of GPUs. None takes as many as the intended batch needs, or the smallest
            number that fits if that is more.
        here: Whether the recipe will run on this machine.
        global_batch: The intended global batch; None takes the paper's.
        network_gb_s: 1e9 bytes per second and GPU to other nodes.
        price: Of one GPU-hour.
        samples: Samples in an epoch; None reads it from the data.
        tokens_per_sample: The mean number of tokens; None reads it from the data.
    """

    changes: Sequence[str] = ()
    gpus: int | None = None
    here: bool = False
    global_batch: int | None = None
    network_gb_s: float = NETWORK_GB_S
    price: float | None = None
    samples: int | None = None
    tokens_per_sample: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of clusters.

    Attributes:
        gpus: How many GPUs.
        samples: Samples that one GPU takes at once.
        accumulation: Micro-batches per step.
        memory: The peak of one GPU, in bytes.
        fits: Whether a GPU has that much.
        schedule: The schedule of the run on these GPUs.
    """

    gpus: int
    samples: int
    accumulation: int
    memory: int
    fits: bool
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        recipe: The recipe's file.
        shape: Its model.
        setup: Its training settings.
        data: The size of its data.
        gpu: The kind of GPU.
        gpus: The number of GPUs for which memory is counted.
        moments: The memory of one GPU.
        clusters: Other numbers of GPUs, for comparison.
        smallest: The smallest number of GPUs that fits, or None.
        findings: What was checked.
    """

    recipe: str
    shape: ModelShape
    setup: Setup
    data: DataSize
    gpu: Gpu
    gpus: int
    moments: Mapping[Moment, Memory]
    clusters: Sequence[Row]
    smallest: int | None
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether the recipe can run unchanged on the chosen GPUs."""
        return all(finding.ok for finding in self.findings)

    @property
    def chosen(self) -> Row:
        """The row of the chosen number of GPUs."""
        return next(row for row in self.clusters if row.gpus == self.gpus)


def make_plan(recipe: Path, gpu: Gpu, options: PlanOptions | None = None) -> Plan:
    """Plans a recipe.

    Args:
        recipe: The recipe.
        gpu: The kind of GPU.
        options: The other options.

    Raises:
        CoalmError: Bad input, or a recipe of a kind that the plan does not know.
    """
    options = options or PlanOptions()
    config = read_recipe(recipe, options.changes)
    if options.here:
        checks.check_config(config, place=str(recipe))
    setup = read_setup(config)
    data = data_size(config, samples=options.samples, tokens=options.tokens_per_sample)
    meant = options.global_batch or paper_training()["global_batch"]
    planner = _Planner(recipe, config, _shape(config), data, gpu, options, meant)
    smallest = next((count for count in _COUNTS if planner.row(setup, count).fits), None)
    own = max(1, meant // (setup.micro_batch * setup.accumulation))
    chosen = options.gpus or max(smallest or own, own)
    moments = plan_memory(planner.shape, setup, gpus=chosen)
    start = plan_start(planner.shape, setup)
    counts = sorted({*_SHOWN, chosen, smallest or chosen})
    return Plan(
        recipe=str(recipe),
        shape=planner.shape,
        setup=setup,
        data=data,
        gpu=gpu,
        gpus=chosen,
        moments=moments,
        clusters=[planner.row(setup, count) for count in counts],
        smallest=smallest,
        findings=[
            *checks.check_memory(
                moments,
                config,
                gpu,
                gpus=chosen,
                start=start,
                fix=lambda: planner.fix(setup, chosen),
            ),
            *checks.check_batch(setup, gpus=chosen, global_batch=meant),
            *checks.check_precision(config, gpu),
            *checks.check_quantisation(config, setup, here=options.here),
            *checks.check_kernels(setup, here=options.here),
            *checks.check_adapters(setup),
        ],
    )


def _shape(config: "TrainingConfig") -> ModelShape:
    model = config.model
    known = read_config(model.model_name, trust_remote_code=model.trust_remote_code)
    return measure(model.model_name, known, config.peft if config.training.use_peft else None)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans one recipe on clusters of one kind of GPU."""

    recipe: Path
    config: "TrainingConfig"
    shape: ModelShape
    data: DataSize
    gpu: Gpu
    options: PlanOptions
    global_batch: int

    def row(self, setup: Setup, count: int) -> Row:
        """Plans the intended batch on this many GPUs, with as few changes as possible."""
        shared = share_batch(setup, gpus=count, global_batch=self.global_batch)
        need = self._memory(shared, count)
        cluster = Cluster(self.gpu, count, self.options.network_gb_s, self.options.price)
        epochs, steps = self.config.training.num_train_epochs, self.config.training.max_steps
        return Row(
            gpus=count,
            samples=shared.micro_batch,
            accumulation=shared.accumulation,
            memory=need,
            fits=need <= self.gpu.memory,
            schedule=plan_schedule(
                self.shape, shared, self.data, cluster, epochs=epochs, steps=steps
            ),
        )

    def fix(self, setup: Setup, chosen: int) -> str | None:
        """Finds the first changes with which the intended batch fits, by planning each."""
        for changes in checks.memory_changes(setup):
            changed = read_setup(read_recipe(self.recipe, [*self.options.changes, *changes]))
            for count in (chosen, *_COUNTS):
                shared = share_batch(changed, gpus=count, global_batch=self.global_batch)
                if self._memory(shared, count) <= self.gpu.memory:
                    batch = count * shared.micro_batch * shared.accumulation
                    asked = [f"--gpus {count}"] if count != chosen else []
                    asked += [f"--global-batch {batch}"] if batch != self.global_batch else []
                    return " ".join([*changes, *batch_changes(changed, shared), *asked])
        return None

    def _memory(self, setup: Setup, count: int) -> int:
        moments = plan_memory(self.shape, setup, gpus=count)
        return max(moments[peak(moments)].total, plan_start(self.shape, setup))
