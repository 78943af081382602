"""Lengths of the samples of a mixture."""

import re

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from coalm_oumi.report.collect import Mixture
from coalm_oumi.report.figures.canvas import COLOURS, INK, SMALL, WIDTH, Figure, finished


def length_histogram(mixture: Mixture) -> Figure | None:
    """Draws the lengths of each source's samples, in tokens."""
    stats = mixture.stats
    if stats is None or stats.histogram is None:
        return None
    edges, samples = stats.histogram.edges, stats.histogram.samples
    canvas = Canvas(figsize=(WIDTH, 0.8 + 0.95 * len(samples)), layout="constrained")
    grid = canvas.subplots(len(samples), 1, sharex=True, squeeze=False)[:, 0]
    window, is_in_sight = stats.window, stats.window <= edges[-1]
    for number, (axes, (source, counts)) in enumerate(zip(grid, samples.items(), strict=True)):
        axes.stairs(counts, edges, fill=True, color=COLOURS[number + 1])
        axes.text(
            0.995, 0.9, f"{source}, {sum(counts):,} samples", ha="right", va="top",
            transform=axes.transAxes, fontsize=SMALL,
        )  # fmt: skip
        if is_in_sight:
            axes.axvline(window, color=INK, linestyle="--", linewidth=1)
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    dashed = f"; dashed: the window of {window:,}" if is_in_sight else ""
    grid[-1].set_xlabel(f"tokens per sample{dashed}")
    means = {row.source: row.tokens_per_sample for row in stats.sources}
    alt = "; ".join(f"{source}: mean {means[source]:.0f}" for source in samples)
    name = "lengths_" + re.sub(r"\W+", "_", mixture.name)
    return finished(canvas, name.rstrip("_"), f"Lengths of samples in {mixture.name}", alt)
