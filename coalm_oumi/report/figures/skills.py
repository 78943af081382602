"""Dialogue against function calling (the paper's Figure 1)."""
# pyright: standard

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation

from coalm_oumi.report import paper
from coalm_oumi.report.figures.canvas import INK, KINDS, SMALL, WIDTH, Figure, colour_of, finished
from coalm_oumi.report.tables import Table


def both_skills(dialogue: Table, calling: Table) -> Figure | None:
    """Draws MultiWOZ Success against BFCL's overall accuracy (Figure 1)."""
    names = {row.run: row.name for row in dialogue.rows}
    xs = {row.run: row.cells[0] for row in dialogue.rows}
    ys = {row.run: row.cells[0] for row in calling.rows}
    canvas = Canvas(figsize=(WIDTH, 4.8), layout="constrained")
    axes = canvas.subplots()
    points: list[tuple[float, float, str]] = []
    for run in (run for run in xs if run in ys):
        for side, fill in (("paper", "none"), ("ours", colour_of(run))):
            x, y = getattr(xs[run], side), getattr(ys[run], side)
            if x and y:
                axes.scatter(
                    x.value, y.value, s=52, facecolor=fill, edgecolor=colour_of(run), linewidth=1.8
                )
                name = names[run] if side == "paper" else f"{names[run]}, ours"
                points.append((x.value, y.value, name))
    if not points:
        return None
    axes.set_xlim(0, 100)
    axes.set_ylim(min(p[1] for p in points) - 5, max(p[1] for p in points) + 5)
    axes.set_xlabel("dialogue: MultiWOZ Success, %")
    axes.set_ylabel("function calling: BFCL V3 overall, %")
    axes.grid(alpha=0.15, color=INK)
    for kind, colour in KINDS.items():
        if any(paper.kind_of(run) == kind for run in xs if run in ys):
            axes.scatter(
                [], [], s=40, facecolor="none", edgecolor=colour, linewidth=1.8, label=kind
            )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.46, -0.14), ncols=2, fontsize=SMALL,
        handletextpad=0.1, columnspacing=1.0,
    )  # fmt: skip
    _label_apart(canvas, axes, points)
    alt = "; ".join(f"{name}: Success {x:.1f}, BFCL {y:.1f}" for x, y, name in points)
    title = "Who is good at both: dialogue and function calling"
    return finished(canvas, "both_skills", title, alt)


def _label_apart(canvas: Canvas, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Writes each point's name where it covers neither another name nor a point.

    adjustText 1.4 covers points if every model has two, and its runs differ.
    """
    canvas.draw_without_rendering()
    taken = []
    for x, y, _ in points:
        a, b = axes.transData.transform((x, y))
        taken.append((a - 6, b - 6, a + 6, b + 6))
    bounds = axes.get_window_extent()
    placings = [
        (8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"),
        (0, -8, "center", "top"), (6, 6, "left", "bottom"), (-6, -6, "right", "top"),
        (6, -6, "left", "top"), (-6, 6, "right", "bottom"), (0, 20, "center", "bottom"),
        (0, -20, "center", "top"),
    ]  # fmt: skip
    for x, y, name in points:
        best: tuple[float, Annotation] | None = None
        for dx, dy, horizontal, vertical in placings:
            text = axes.annotate(
                name, (x, y), (dx, dy), textcoords="offset points", ha=horizontal, va=vertical,
                fontsize=SMALL,
            )  # fmt: skip
            box = text.get_window_extent()
            covered = sum(
                max(0, min(box.x1, c) - max(box.x0, a)) * max(0, min(box.y1, d) - max(box.y0, b))
                for a, b, c, d in taken
            )
            outside = max(0, bounds.x0 - box.x0) + max(0, box.x1 - bounds.x1)
            cost = covered + 100 * outside
            if best is None or cost < best[0]:
                if best:
                    best[1].remove()
                best = (cost, text)
            else:
                text.remove()
        assert best is not None
        box = best[1].get_window_extent()
        taken.append((box.x0, box.y0, box.x1, box.y1))
