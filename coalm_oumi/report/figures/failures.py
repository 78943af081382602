"""Right answers and failures by type (the paper's Figure 3)."""
# pyright: standard

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from coalm_oumi.report.failures import Task, kinds
from coalm_oumi.report.figures.canvas import SMALL, WIDTH, Figure, finished, short

_COLOURS = ("#2a9461", "#d9542b", "#b8860b", "#a862c6", "#2f7fd6", "#0e9aa7", "#d0487f", "#7b8794")


def failure_bars(tasks: Sequence[Task]) -> Figure | None:
    """Draws how often each model is right or fails in each way (as Figure 3)."""
    if not tasks:
        return None
    # `right` comes first, and is green, even if no model is right.
    colours = dict(zip(kinds(*tasks), itertools.cycle(_COLOURS), strict=False))
    models = sum(len(task.counts) for task in tasks)
    canvas = Canvas(figsize=(WIDTH, 1.5 + 0.36 * models + 0.3 * len(tasks)))
    canvas.set_layout_engine("constrained")
    axes = canvas.subplots()
    places: list[float] = []
    labels: list[str] = []
    alts: list[str] = []
    place = 0.0
    for task in tasks:
        name = short(task.name)
        axes.text(0, place - 0.62, name, fontsize=SMALL, fontweight="bold", va="center")
        for model, counts in task.counts.items():
            _bar(axes, place, counts, colours)
            places.append(place)
            labels.append(f"{model}, n={counts.total()}")
            listed = ", ".join(f"{kind} {counts[kind]}" for kind in colours if counts[kind])
            alts.append(f"{name}, {model}: {listed}")
            place += 1
        place += 0.9
    for kind, colour in colours.items():
        axes.barh(0, 0, color=colour, label=kind)
    axes.set_yticks(places, labels)
    axes.set_ylim(place - 1, -1.1)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the answers")
    canvas.legend(loc="outside lower center", ncols=3, fontsize=SMALL, columnspacing=1.0)
    title = "Right answers and failures by type (Figure 3)"
    return finished(canvas, "errors", title, "; ".join(alts))


def _bar(axes: Axes, place: float, counts: Counter[str], colours: Mapping[str, str]) -> None:
    """Draws the shares of one model's answers end to end."""
    start = 0.0
    for kind, colour in colours.items():
        share = 100 * counts[kind] / counts.total()
        if not share:
            continue
        axes.barh(place, share, 0.7, left=start, color=colour)
        if share >= 7:
            axes.text(
                start + share / 2, place, f"{counts[kind]}", ha="center", va="center",
                fontsize=SMALL, color="white", fontweight="bold",
            )  # fmt: skip
        start += share
