"""Loss and learning rate of training runs."""
# pyright: standard

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from coalm_oumi.report.collect import TrainingRun
from coalm_oumi.report.figures.canvas import COLOURS, WIDTH, Figure, finished


def training_curves(training: Sequence[TrainingRun]) -> Figure | None:
    """Draws loss and learning rate over the steps of each training run."""
    training = [run for run in training if run.steps]
    if not training:
        return None
    canvas = Canvas(figsize=(WIDTH, 4.6), layout="constrained")
    losses, rates = canvas.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for number, run in enumerate(training):
        colour = COLOURS[(number + 1) % len(COLOURS)]
        losses.plot(run.steps, run.losses, color=colour, alpha=0.35, linewidth=1)
        losses.plot(run.steps, smoothed(run.losses), color=colour, linewidth=2, label=run.name)
        rates.plot(run.steps, run.rates, color=colour, linewidth=1.6)
    losses.set_title("Loss, nats per target token (smoothed)")
    losses.set_ylim(bottom=0)
    rates.set_title("Learning rate")
    rates.set_ylim(bottom=0)
    rates.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    rates.set_xlabel("optimizer step")
    if len(training) > 1:
        losses.legend()
    alt = "; ".join(
        f"{run.name}: loss {run.losses[0]:.2f} at step {run.steps[0]}, "
        f"{smoothed(run.losses)[-1]:.2f} smoothed at step {run.steps[-1]}"
        for run in training
    )
    return finished(canvas, "training", "Training", alt)


def smoothed(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """Returns the exponential moving average, corrected for its start at zero."""
    averages: list[float] = []
    total = norm = 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        averages.append(total / norm)
    return averages
