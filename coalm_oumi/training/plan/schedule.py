"""Steps, hours and cost of a run, from the size of its data and the model's arithmetic."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coalm_oumi.core import paper
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.mixture.store import MANIFEST
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.training.plan.gpus import Gpu
from coalm_oumi.training.plan.memory import NODE
from coalm_oumi.training.plan.setup import Setup
from coalm_oumi.training.plan.shape import ModelShape
from coalm_oumi.training.plan.span import Span
from coalm_oumi.training.plan.speed import speed_of_step

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig

NETWORK_GB_S = 50.0
"""1e9 bytes per second from a GPU to other nodes: 400 Gb/s (Dubey et al., 2024, section 3.3)."""

PCIE_GB_S = 50.0
"""1e9 bytes per second from the CPU to a GPU: PCIe 5 x16 has 63 at most. Assumed."""


@dataclass(frozen=True, slots=True)
class DataSize:
    """The size of the training data.

    Attributes:
        samples: Samples in an epoch; sequences if they are packed.
        tokens: The mean number of tokens per sample.
        origin: The origin of the two numbers.
        lengths: Shares of the samples, and their mean tokens: one pair for each source.
    """

    samples: int
    tokens: float
    origin: str
    lengths: tuple[tuple[float, float], ...] = field(default=(), compare=False)

    def longest_of(self, batch: int) -> float:
        """Returns the expected length in tokens of the longest of this many samples.

        It is a lower bound, because lengths also differ within a source, by an unknown amount.
        """
        expected = below = 0.0
        for share, tokens in sorted(self.lengths, key=lambda pair: pair[1]):
            expected += tokens * ((below + share) ** batch - below**batch)
            below += share
        return max(expected, self.tokens)


@dataclass(frozen=True, slots=True)
class Cluster:
    """GPUs that a run may have.

    Attributes:
        gpu: Their kind.
        gpus: How many.
        network_gb_s: 1e9 bytes per second and GPU to other nodes.
        price: Of one GPU-hour, or None.
    """

    gpu: Gpu
    gpus: int
    network_gb_s: float = NETWORK_GB_S
    price: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run on one cluster.

    Attributes:
        global_batch: Sequences per optimizer step.
        steps: Optimizer steps.
        hours: Wall-clock hours.
        host_hours: Hours that the host needs to launch the kernels, while the GPUs compute.
        gathering_hours: Hours of gathering weights, while the GPUs compute.
        gpu_hours: GPU-hours.
        cost: Their cost, or None if no price was given.
    """

    global_batch: int
    steps: int
    hours: Span
    host_hours: Span
    gathering_hours: float
    gpu_hours: Span
    cost: Span | None


def paper_training() -> dict[str, Any]:
    """Returns what the paper's section 4.2 says about training."""
    return paper.read()["section_4_2"]


def data_size(
    config: "TrainingConfig", *, samples: int | None = None, tokens: float | None = None
) -> DataSize:
    """Finds the size of a recipe's training data.

    Args:
        config: The recipe. Counts come from the data that its `dataset_path` names: the manifest
            that `coalm build` wrote there, or the records themselves. Without a path they come from
            the card of the published mixture, and if the data is not built yet, from the paper's
            Table 1. Lengths come from the file that `coalm stats` wrote there, or from Table 1.
        samples: Overrides the number of samples in an epoch.
        tokens: Overrides the mean number of tokens per sample.

    Raises:
        CoalmError: The recipe trains on other data, and the numbers are not given.
    """
    train = config.data.train
    found: list[tuple[float, float]] = []
    origins: set[str] = set()
    for dataset in () if samples and tokens else train.datasets:
        if dataset.dataset_name != "coalm-oumi/mixture":
            raise CoalmError(
                f"dataset {dataset.dataset_name}: the plan knows the size of coalm-oumi/mixture "
                "only; give --samples and --tokens-per-sample"
            )
        sizes, origin = _sizes(dataset.dataset_path, dataset.dataset_kwargs or {})
        found += sizes
        origins.add(origin)
    total = sum(count for count, _ in found)
    lengths: tuple[tuple[float, float], ...] = ()
    if found and tokens is None:
        tokens = sum(count * mean for count, mean in found) / total
        lengths = tuple((count / total, mean) for count, mean in found)
    samples = samples or round(total)
    if not samples or not tokens:
        raise CoalmError("the recipe names no data; give --samples and --tokens-per-sample")
    row = config.model.model_max_length
    if row and (train.pack or config.training.trainer_kwargs.get("packing")):
        samples, tokens = math.ceil(samples * tokens / row), float(row)
        lengths = ()
        origins.add("packed")
    return DataSize(samples, tokens, ", ".join(sorted(origins)) or "as given", lengths)


def _sizes(path: str | None, kwargs: Mapping[str, Any]) -> tuple[list[tuple[float, float]], str]:
    """Returns the samples and mean tokens of each chosen source, and where the counts are from."""
    from coalm_oumi.data.mixture.stats import paper_table, paper_total

    counts, origin = _counts(path, kwargs)
    means = {name: row["tokens"] / row["samples"] for name, row in paper_table().items()}
    other = paper_total()["tokens"] / paper_total()["samples"]
    stats = Path(path or "") / "stats.json"
    if path and stats.is_file():
        for row in read_json(stats)["sources"]:
            means[row["source"]] = row["tokens_per_sample"]
    domains, sources = kwargs.get("domains"), kwargs.get("sources")
    weights: Mapping[str, float] = kwargs.get("weights") or {}
    sizes: list[tuple[float, float]] = []
    for (source, domain), count in counts.items():
        is_chosen = (not domains or domain in domains) and (not sources or source in sources)
        if is_chosen and count:
            sizes.append((count * weights.get(source, 1), means.get(source, other)))
    return sizes, origin


def _counts(
    path: str | None, kwargs: Mapping[str, Any]
) -> tuple[Mapping[tuple[str, str], float], str]:
    """Counts the training samples of a data set by source and domain.

    Returns:
        The counts, and their origin.
    """
    from coalm_oumi.data.mixture.marks import with_origin
    from coalm_oumi.data.mixture.select import column
    from coalm_oumi.data.mixture.stats import PUBLISHED_SAMPLES, paper_table
    from coalm_oumi.data.mixture.store import read_samples, split_files

    domains = {source: row["domain"] for source, row in paper_table().items()}
    if path is None:
        counts = {(name, domains[name]): count for name, count in PUBLISHED_SAMPLES.items()}
        return counts, "the card of the published mixture"
    if not Path(path).exists():
        counts = {(name, row["domain"]): row["samples"] for name, row in paper_table().items()}
        return counts, f"the paper's Table 1, since {path} is not built yet"
    manifest = Path(path) / MANIFEST
    train = read_json(manifest)["samples"]["train"] if manifest.is_file() else None
    if train is not None and set(train) <= set(domains):
        return {(name, domains[name]): count for name, count in train.items()}, str(manifest)
    files, is_split = split_files(Path(path), "train")
    table = with_origin(read_samples(files), path)
    pairs: Iterable[tuple[str, str]] = [("own data", "")] * len(table)
    if {"source", "domain"} <= set(table.column_names):
        columns = column(table, "source", path), column(table, "domain", path)
        pairs = zip(*columns, strict=True)
    kept = 1.0 if is_split else 1.0 - kwargs.get("validation_fraction", 0.0)
    return {pair: count * kept for pair, count in Counter(pairs).items()}, path


def flops_per_token(shape: ModelShape, *, tokens: float) -> float:
    """Counts the arithmetic that training needs for one token.

    Two operations per weight forward, two for the gradient of its input, and two for the weight's
    gradient if it is trained (Kaplan et al., 2020). Attention after Chowdhery et al. (2022),
    "PaLM", appendix B, halved since it is causal. Recomputation is left out, as in their
    definition of model FLOPs utilisation (MFU).

    Args:
        shape: The model.
        tokens: The length of the sequence.
    """
    whole = not shape.adapted
    weights = (6 if whole else 4) * shape.multiplied + (0 if whole else 6 * shape.trainable)
    return weights + 6 * shape.layers * shape.query * tokens


def implied_mfu(
    shape: ModelShape, data: DataSize, gpu: Gpu, *, gpus: int, epochs: float, hours: float
) -> float:
    """Returns the utilisation at which a run would have taken the given hours."""
    work = data.samples * epochs * data.tokens * flops_per_token(shape, tokens=data.tokens)
    return work / (gpus * gpu.tflops * 1e12 * hours * 3600)


def plan_schedule(
    shape: ModelShape, setup: Setup, data: DataSize, cluster: Cluster, *, epochs: float, steps: int
) -> Schedule:
    """Plans a run.

    Args:
        shape: The model.
        setup: The training settings.
        data: The size of the data.
        cluster: The GPUs.
        epochs: The number of epochs, if `steps` is not positive.
        steps: The maximal number of optimizer steps.
    """
    global_batch = cluster.gpus * setup.micro_batch * setup.accumulation
    if steps <= 0:
        steps = math.ceil(data.samples / global_batch * epochs)
    # A padded batch computes on its padding.
    tokens = data.tokens if setup.row_budget is not None else data.longest_of(setup.micro_batch)
    work = flops_per_token(shape, tokens=data.tokens) * tokens * setup.micro_batch
    speed = speed_of_step(shape, setup, tokens=data.tokens, work=work, gpu=cluster.gpu)
    gathering = setup.accumulation * _gathering(shape, setup, cluster)
    seconds = speed.host | speed.gpu | Span(gathering, gathering)
    hours = seconds * (steps / 3600)
    return Schedule(
        global_batch=global_batch,
        steps=steps,
        hours=hours,
        host_hours=speed.host * (steps / 3600),
        gathering_hours=gathering * steps / 3600,
        gpu_hours=hours * cluster.gpus,
        cost=None if cluster.price is None else hours * (cluster.gpus * cluster.price),
    )


def _gathering(shape: ModelShape, setup: Setup, cluster: Cluster) -> float:
    """Returns the seconds that FSDP gathers weights for one forward and backward pass."""
    gpus, link = cluster.gpus, cluster.gpu.link_gb_s
    shards = {"none": 1, "node": min(gpus, NODE)}.get(setup.sharding, gpus)
    times = 1 if setup.sharding == "optimizer" else 2  # forward, and backward once more
    linear = shape.layers * shape.layer_linear
    size = linear / 2 if setup.four_bit else linear * setup.activation_bytes
    size += (shape.parameters - linear) * setup.activation_bytes
    speed = (link if shards <= NODE else min(cluster.network_gb_s, link)) * 1e9
    seconds = times * size * (shards - 1) / shards / speed
    if setup.offload:
        seconds += times * size / shards / (PCIE_GB_S * 1e9)
    return seconds
