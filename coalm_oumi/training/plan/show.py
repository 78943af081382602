"""A plan as text for a terminal, as JSON and as a picture."""
# pyright: standard

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.wording import counted
from coalm_oumi.files.atomic import write_bytes
from coalm_oumi.files.jsontext import write_json
from coalm_oumi.rendering import terminal
from coalm_oumi.training.plan.build import Plan
from coalm_oumi.training.plan.gpus import gpu_by_name
from coalm_oumi.training.plan.memory import MOMENTS, peak
from coalm_oumi.training.plan.schedule import DataSize, implied_mfu, paper_training
from coalm_oumi.training.plan.setup import Setup
from coalm_oumi.training.plan.shape import ModelShape
from coalm_oumi.training.plan.speed import LAUNCH, USED

_GIB = 2**30
_LABELS = {
    "weights": "weights",
    "constants": "quantisation constants",
    "lora": "LoRA weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "workspace": "workspace",
    "gathered": "FSDP gather",
    "logits": "logits",
    "overhead": "context, fragmentation (assumed)",
}
_COLOURS = (
    *("#13294b", "#4a6fa5", "#e84a27", "#f2a083", "#8c8c8c"),
    *("#2a7f62", "#8fc1a9", "#c9a227", "#7b4b94", "#d9d9d9"),
)


def show(plan: Plan) -> None:
    """Prints a plan as tables."""
    terminal.say("\n".join([*_head(plan), ""]))
    terminal.show(_memory(plan))
    terminal.say("")
    terminal.show(_clusters(plan))
    terminal.say("\n".join(["", *_notes(plan)]))


def write(folder: Path, plan: Plan) -> Sequence[Path]:
    """Writes a plan as JSON and as a picture of bars.

    Returns:
        The files written.
    """
    record: dict[str, Json] = {
        "recipe": plan.recipe,
        "model": asdict(plan.shape),
        "setup": asdict(plan.setup),
        "data": asdict(plan.data),
        "gpu": asdict(plan.gpu),
        "gpus": plan.gpus,
        "bytes": {
            moment: {**asdict(memory), "total": memory.total, "tensors": memory.tensors}
            for moment, memory in plan.moments.items()
        },
        "peak": peak(plan.moments),
        "smallest_cluster": plan.smallest,
        "clusters": [asdict(cluster) for cluster in plan.clusters],
        "findings": [asdict(finding) for finding in plan.findings],
    }
    write_json(folder / "plan.json", record)
    buffer = io.BytesIO()
    bars(plan).savefig(buffer, format="png", dpi=130)
    write_bytes(folder / "plan.png", buffer.getvalue())
    return [folder / "plan.json", folder / "plan.png"]


def _head(plan: Plan) -> Iterator[str]:
    shape, setup = plan.shape, plan.setup
    yield (
        f"{shape.name}: {shape.parameters / 1e9:.2f}B parameters, {shape.trainable:,} trained "
        f"({shape.trainable / shape.parameters:.2%})"
    )
    yield (
        f"{'4-bit' if setup.four_bit else f'{8 * setup.weight_bytes}-bit'} weights, "
        f"{setup.micro_batch} x {setup.tokens} tokens per GPU{_row(setup)}, activations "
        f"{'recomputed' if setup.checkpointing else 'kept'}, {setup.optimizer}, "
        f"{'DDP' if setup.sharding == 'none' else 'FSDP: ' + setup.sharding + ' sharding'}, "
        f"loss: {setup.loss}"
    )


def _row(setup: Setup) -> str:
    if setup.row_budget is None:
        return ""
    return f" in a row without padding, {setup.tokens_at_once} at once"


def _each(plan: Plan) -> str:
    if plan.gpus == 1:
        return f"GiB on one {plan.gpu.name}"
    return f"GiB on each of {plan.gpus} x {plan.gpu.name}"


def _memory(plan: Plan) -> Table:
    made = terminal.table(_each(plan), *MOMENTS)
    rows = {moment: asdict(memory) for moment, memory in plan.moments.items()}
    for part, label in _LABELS.items():
        numbers = [rows[moment][part] / _GIB for moment in MOMENTS]
        if any(numbers):
            made.add_row(label, *(f"{number:.2f}" for number in numbers))
    totals = [plan.moments[moment].total / _GIB for moment in MOMENTS]
    made.add_row(f"total, of {plan.gpu.memory / _GIB:.1f}", *(f"{number:.2f}" for number in totals))
    return made


def _clusters(plan: Plan) -> Table:
    heads = ["GPUs", "GiB per GPU", "fits", "samples per GPU", "batch", "steps", "hours"]
    heads.append("GPU-hours")
    if plan.clusters[0].schedule.cost is not None:
        heads.append("cost")
    made = terminal.table(*heads)
    made.columns[0].justify = "right"
    made.add_column("")
    for row in plan.clusters:
        run = row.schedule
        times = "" if row.accumulation == 1 else f" x {row.accumulation}"
        samples = f"{row.samples}{times}"
        cells = [str(row.gpus), f"{row.memory / _GIB:.1f}", "yes" if row.fits else "no", samples]
        cells += [str(run.global_batch), f"{run.steps:,}", str(run.hours), str(run.gpu_hours)]
        if run.cost is not None:
            cells.append(str(run.cost))
        if row.gpus == plan.smallest:
            cells.append("<- smallest that fits")
        made.add_row(*cells)
    return made


def _notes(plan: Plan) -> Iterator[str]:
    data = plan.data
    yield f"{data.samples:,} samples of {data.tokens:.0f} tokens ({data.origin})"
    yield (
        f"hours: the slower of the host, {LAUNCH.low * 1e6:.0f} to {LAUNCH.high * 1e6:.0f} us a "
        f"kernel, and the GPU at {USED.low:.0%} to {USED.high:.0%} of {plan.gpu.tflops:.0f} "
        "TFLOP/s; no wait for disks or failures"
    )
    run = plan.chosen.schedule
    if run.host_hours.high >= run.hours.high:
        yield (
            f"on {counted(plan.gpus, 'GPU')} the host may need as long to launch kernels as the "
            "run takes: a faster GPU does not shorten it then"
        )
    yield from _paper(plan.shape)
    if run.cost is None:
        yield "no cost without --price, the price of a GPU-hour"
    for finding in plan.findings:
        yield str(finding)


def _paper(shape: ModelShape) -> Iterator[str]:
    """Writes what the paper's hours imply, for a model that the paper trained."""
    from coalm_oumi.data.mixture.stats import paper_total

    paper = paper_training()
    hours = paper["hours"].get(shape.name)
    if hours is None:
        return
    total = paper_total()
    data = DataSize(total["samples"], total["tokens"] / total["samples"], "Table 1")
    gpu, gpus = gpu_by_name(paper["gpu"]), paper["gpus"]
    mfu = implied_mfu(shape, data, gpu, gpus=gpus, epochs=paper["epochs"], hours=hours)
    yield f"the paper's {hours} hours on {gpus} H100 (section 4.2) imply an MFU of {mfu:.1%}"


def _title(plan: Plan) -> str:
    """Writes the recipe, the verdict, the hours and, with a price, the cost."""
    cluster = plan.chosen
    run, fits = cluster.schedule, "fits" if cluster.fits else "does not fit"
    cost = "" if run.cost is None else f", costs {run.cost}"
    return (
        f"{Path(plan.recipe).name}: {plan.shape.name}, {'can run' if plan.ok else 'cannot run'}\n"
        f"{fits} on {plan.gpus} x {plan.gpu.name}, {run.hours} hours, {run.gpu_hours} GPU-hours"
        f"{cost}"
    )


def bars(plan: Plan) -> Figure:
    """Draws the memory of one GPU at each moment, beside what the GPU has."""
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    rows = [asdict(plan.moments[moment]) for moment in MOMENTS]
    left = [0.0] * len(MOMENTS)
    for (part, label), colour in zip(_LABELS.items(), _COLOURS, strict=True):
        widths = [row[part] / _GIB for row in rows]
        if any(widths):
            axes.barh(MOMENTS, widths, left=left, label=label, color=colour, height=0.6)
            left = [start + width for start, width in zip(left, widths, strict=True)]
    limit = plan.gpu.memory / _GIB
    axes.axvline(limit, color="black", linestyle="--", linewidth=1)
    axes.annotate(
        f"one {plan.gpu.name}",
        (limit, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 5),  # above the line's end
        textcoords="offset points",
        fontsize=9,
        ha="center",
        va="bottom",
    )
    axes.set_xlim(0, 1.1 * max(limit, *left))
    axes.invert_yaxis()
    axes.set_xlabel(_each(plan))
    axes.set_title(_title(plan), fontsize=10, loc="left", pad=22)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=4, fontsize=8)
    return figure
