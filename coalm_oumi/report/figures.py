"""The figures of a report, drawn with Matplotlib."""

import io
import itertools
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from coalm_oumi.report.collect import TaskResult, TrainingRun

matplotlib.use("agg")

COLOURS = ("#8c8c8c", "#13294b", "#e84a27", "#2a7f62")
"""One a model, in the order of the table; the first is the base model's."""


def draw(
    training: Sequence[TrainingRun], results: Sequence[TaskResult], models: Sequence[str]
) -> bytes:
    """Draws the loss curve and the metrics of all models side by side.

    Returns:
        A PNG.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    losses, bars = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _loss_curve(losses, training)
    _metric_bars(bars, results, models)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _loss_curve(axes, training: Sequence[TrainingRun]) -> None:
    axes.set_title("Training loss")
    for run, colour in zip(training, itertools.cycle((*COLOURS[1:], *COLOURS[:1])), strict=False):
        axes.plot(run.steps, run.losses, color=colour, alpha=0.3, linewidth=1)
        axes.plot(run.steps, smoothed(run.losses), color=colour, linewidth=2, label=run.name)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("nats per target token")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    if training:
        axes.legend(frameon=False)


def smoothed(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """The exponential moving average, without the pull towards its start."""
    averages: list[float] = []
    total = norm = 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        averages.append(total / norm)
    return averages


def _metric_bars(axes, results: Sequence[TaskResult], models: Sequence[str]) -> None:
    axes.set_title("Held-out samples")
    rows = list(
        dict.fromkeys((r.task, name) for r in results for name in r.metrics if name != "readable")
    )
    values = {(r.model, r.task, name): v for r in results for name, v in r.metrics.items()}
    height = 0.8 / max(len(models), 1)
    for number, model in enumerate(models):
        # A missing result draws no bar, which is not the same as a bar of nothing.
        shares = [100 * values.get((model, *row), float("nan")) for row in rows]
        places = [place + (number - (len(models) - 1) / 2) * height for place in range(len(rows))]
        drawn = axes.barh(places, shares, height, label=model, color=COLOURS[number % len(COLOURS)])
        labels = ["missing" if share != share else f"{share:.1f}" for share in shares]
        axes.bar_label(drawn, labels=labels, padding=2, fontsize=9)
    counts = {r.task: r.num_samples for r in results}
    labels = [
        f"{task.rpartition('/')[2].replace('_', ' ')}: {name.replace('_', ' ')} (n={counts[task]})"
        for task, name in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("%")
    axes.spines[["top", "right"]].set_visible(False)
    if models:
        axes.legend(frameon=False, loc="lower right")
