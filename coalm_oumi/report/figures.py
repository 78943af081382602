"""The figures of a report, by Matplotlib: PNG files, and SVG that follows the page's scheme."""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from coalm_oumi.report import paper
from coalm_oumi.report.collect import Mixture, TaskResult, TrainingRun
from coalm_oumi.report.failures import Task
from coalm_oumi.report.intervals import interval
from coalm_oumi.report.tables import Number, Table

matplotlib.use("agg")

INK = "#1b1f24"
"""Text and axes: dark in a PNG, the page's own ink in its SVG."""

COLOURS = ("#7b8794", "#2f7fd6", "#d9542b", "#2a9461", "#a862c6", "#b8860b", "#0e9aa7", "#d0487f")
"""One a model, in the order of the tables; the first is the base model's. Each stands out by 3:1 or
more from white and from the page's dark ground."""

_KINDS = {
    "CoALM": COLOURS[2],
    "language agent": COLOURS[1],
    "dialogue system": COLOURS[3],
    "open model": COLOURS[0],
    "closed model": COLOURS[4],
}
_FAILURES = ("#2a9461", "#d9542b", "#b8860b", "#a862c6", "#2f7fd6", "#0e9aa7", "#d0487f", "#7b8794")
_WIDTH = 5.2
"""Inches: narrow, so that text stays readable on a telephone."""
_SMALL = 9.5
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "coalm",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, drawn.

    Attributes:
        name: Its file's name.
        title: What it shows.
        alt: What is to be seen, for who cannot see it.
        svg: For the page; text and axes have the page's colour.
        png: For a file.
    """

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


def colours(models: Sequence[str]) -> dict[str, str]:
    """Gives each model the colour that it has in all figures: grey to one that was not tuned."""
    found: dict[str, str] = {}
    for model in models:
        plain = is_plain(model) and COLOURS[0] not in found.values()
        others = len([colour for colour in found.values() if colour != COLOURS[0]])
        found[model] = COLOURS[0] if plain else COLOURS[1 + others % (len(COLOURS) - 1)]
    return found


def is_plain(model: str) -> bool:
    """Returns True if a run is of a model as it was before training."""
    run = model.rpartition("/")[2]
    return run == "base" or paper.kind_of(run) == "open model"


def draw_all(
    *,
    training: Sequence[TrainingRun],
    results: Sequence[TaskResult],
    mixtures: Sequence[Mixture],
    failures: Sequence[Task],
    tables: Sequence[Table],
    models: Sequence[str],
) -> list[Figure]:
    """Draws the figures for which there is something to show."""
    by_number = {table.number: table for table in tables}
    with matplotlib.rc_context(_STYLE):  # pyright: ignore[reportArgumentType]
        drawn = [
            training_curves(training),
            metric_bars(results, models),
            *(paper_bars(by_number[number]) for number in (2, 3, 4)),
            both_skills(by_number[2], by_number[4]),
            ablations(by_number[5]),
            failure_bars(failures),
            forgetting(results, models),
            *(length_histogram(mixture) for mixture in mixtures),
        ]
    return [figure for figure in drawn if figure is not None]


def training_curves(training: Sequence[TrainingRun]) -> Figure | None:
    """Loss and learning rate over the steps of each training run."""
    training = [run for run in training if run.steps]
    if not training:
        return None
    canvas = Canvas(figsize=(_WIDTH, 4.6), layout="constrained")
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
    return _figure(canvas, "training", "Training", alt)


def smoothed(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """The exponential moving average, without the pull towards its start."""
    averages: list[float] = []
    total = norm = 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        averages.append(total / norm)
    return averages


def metric_bars(results: Sequence[TaskResult], models: Sequence[str]) -> Figure | None:
    """The first metric of each of our tasks, all models beside each other."""
    results = [r for r in results if r.metrics and not _is_general(r)]
    leading = {r.task: next(iter(r.metrics)) for r in reversed(results)}
    return _task_bars(results, models, leading, "tasks", "Our runs, by task")


def forgetting(results: Sequence[TaskResult], models: Sequence[str]) -> Figure | None:
    """General tasks of LM Evaluation Harness before and after training (section 7)."""
    results = [r for r in results if r.metrics and _is_general(r)]
    leading = {r.task: leading_metric(r) for r in reversed(results)}
    title = "General tasks before and after training"
    return _task_bars(results, models, leading, "forgetting", title)


def _task_bars(
    results: Sequence[TaskResult],
    models: Sequence[str],
    leading: Mapping[str, str],
    name: str,
    title: str,
) -> Figure | None:
    """Draws a group of bars for each task, one a model, with their intervals."""
    found = {(r.model, r.task): r for r in results if leading[r.task] in r.metrics}
    tasks = list(dict.fromkeys(task for _, task in found))
    if not tasks:
        return None
    palette = colours(models)
    models = [model for model in models if any((model, task) in found for task in tasks)]
    rows = len(tasks) * (len(models) + 1.4)
    canvas = Canvas(figsize=(_WIDTH, 0.6 + 0.26 * rows), layout="constrained")
    axes = canvas.subplots()
    alts = []
    y = 0.0
    for task in tasks:
        title_ = f"{_short(task)}: {_words(leading[task])}"
        axes.text(1, y, title_, va="center", fontsize=_SMALL, fontweight="bold")
        for model in models:
            y += 1
            result = found.get((model, task))
            if result is None:
                axes.text(1, y, f"{model}: missing", va="center", fontsize=_SMALL)
                continue
            value, bounds = 100 * result.metrics[leading[task]], interval(result, leading[task])
            axes.barh(y, value, 0.8, color=palette[model])
            end = value
            if bounds:
                end = 100 * bounds[1]
                axes.plot((100 * bounds[0], end), (y, y), color=INK, linewidth=1.4)
            axes.text(end + 2, y, f"{model}: {value:.1f}", va="center", fontsize=_SMALL)
            alts.append(f"{_short(task)}, {_words(leading[task])}, {model}: {value:.1f} %")
        y += 1.4
    axes.set_yticks([])
    axes.set_ylim(y - 0.6, -0.8)
    axes.set_xlim(0, 150)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("%; the line is the 95 % interval")
    return _figure(canvas, name, title, "; ".join(alts))


def paper_bars(table: Table) -> Figure | None:
    """One of Tables 2-4 as bars: the paper's outlined, ours filled with their intervals."""
    columns = list(paper.table(table.number).columns.values())
    shown = [number for number, column in enumerate(columns) if column.shown]
    rows = [
        row for row in table.rows if any(row.cells[n].paper or row.cells[n].ours for n in shown)
    ]
    canvas = Canvas(figsize=(_WIDTH, 0.9 + 0.34 * len(rows)), layout="constrained")
    for place, (axes, number) in enumerate(
        zip(canvas.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True)
    ):
        for index, row in enumerate(rows):
            cell, colour = row.cells[number], _colour(row.run)
            if cell.paper:
                axes.barh(index, cell.paper.value, 0.7, facecolor="none", edgecolor=colour)
            if cell.ours:
                axes.barh(index, cell.ours.value, 0.42, color=colour)
            if cell.interval:
                axes.plot(cell.interval, (index, index), color=INK, linewidth=1.4)
            ends = [figure.value for figure in (cell.paper, cell.ours) if figure]
            if ends:
                text = " / ".join(f"{end:.1f}" for end in ends)
                end = max(*ends, *(cell.interval or ()), 0)
                axes.text(end + 4, index, text, va="center", fontsize=_SMALL)
        axes.set_title(table.columns[number])
        axes.set_xlim(0, 185 if table.ours else 145)
        axes.set_xticks((0, 50, 100))
        axes.tick_params(axis="y", length=0)
        if place == 0:
            axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=_SMALL)
            axes.invert_yaxis()
    canvas.supxlabel("%; outlined: the paper, filled: ours", fontsize=_SMALL)
    alt = "; ".join(
        f"{row.name}: "
        + ", ".join(
            f"{table.columns[n]} {_of(cell.paper)} in the paper, {_of(cell.ours)} ours"
            for n in shown
            for cell in [row.cells[n]]
        )
        for row in rows
    )
    return _figure(canvas, f"table_{table.number}", f"{table.title} (Table {table.number})", alt)


def both_skills(dialogue: Table, calling: Table) -> Figure | None:
    """Who is good at both (Figure 1): MultiWOZ Success against BFCL's overall accuracy."""
    names = {row.run: row.name for row in dialogue.rows}
    xs = {row.run: row.cells[0] for row in dialogue.rows}
    ys = {row.run: row.cells[0] for row in calling.rows}
    canvas = Canvas(figsize=(_WIDTH, 4.8), layout="constrained")
    axes = canvas.subplots()
    points: list[tuple[float, float, str]] = []
    for run in (run for run in xs if run in ys):
        for side, fill in (("paper", "none"), ("ours", _colour(run))):
            x, y = getattr(xs[run], side), getattr(ys[run], side)
            if x and y:
                axes.scatter(
                    x.value, y.value, s=52, facecolor=fill, edgecolor=_colour(run), linewidth=1.8
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
    for kind, colour in _KINDS.items():
        if any(paper.kind_of(run) == kind for run in xs if run in ys):
            axes.scatter(
                [], [], s=40, facecolor="none", edgecolor=colour, linewidth=1.8, label=kind
            )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.46, -0.14), ncols=2, fontsize=_SMALL,
        handletextpad=0.1, columnspacing=1.0,
    )  # fmt: skip
    _label_apart(canvas, axes, points)
    alt = "; ".join(f"{name}: Success {x:.1f}, BFCL {y:.1f}" for x, y, name in points)
    title = "Who is good at both: dialogue and function calling"
    return _figure(canvas, "both_skills", title, alt)


def _label_apart(canvas: Canvas, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Writes each point's name where it covers neither another name nor a point."""
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
                fontsize=_SMALL,
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


def ablations(table: Table) -> Figure | None:
    """Table 5: what each score loses when a domain is left out, against the full CoALM 8B."""
    full = next(row for row in table.rows if row.run == "coalm_8b")
    without = [row for row in table.rows if "_wo_" in row.run]
    rows = len(without) * (len(table.columns) + 1.6)
    canvas = Canvas(figsize=(_WIDTH, 0.6 + 0.26 * rows), layout="constrained")
    axes = canvas.subplots()
    places, texts, alts = [], [], []
    reach = y = 0.0
    for row in without:
        axes.text(
            0, y, row.name, ha="right", va="center", fontweight="bold", fontsize=_SMALL,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        for column, cell, whole in zip(table.columns, row.cells, full.cells, strict=True):
            y += 1
            places.append(y)
            deltas = []
            for side, height in (("paper", 0.8), ("ours", 0.46)):
                one, other = getattr(cell, side), getattr(whole, side)
                if not one or not other:
                    continue
                delta = one.value - other.value
                colour = COLOURS[3] if delta >= 0 else COLOURS[2]
                fill = colour if side == "ours" else "none"
                axes.barh(y, delta, height, facecolor=fill, edgecolor=colour)
                deltas.append(f"{delta:+.1f}".replace("-", "\u2212"))
                alts.append(f"{row.name}, {column}, {side}: {delta:+.1f}")
                reach = max(reach, abs(delta))
            texts.append(" / ".join(deltas))
        y += 1.6
    for place, text in zip(places, texts, strict=True):
        axes.text(reach + 3, place, text, va="center", fontsize=_SMALL)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(places, list(table.columns) * len(without), fontsize=_SMALL)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.8, -0.8)
    axes.set_xlim(-reach - 3, reach + 3 + (0.8 if table.ours else 0.45) * reach)
    axes.set_xlabel("percentage points; outlined: the paper, filled: ours", fontsize=_SMALL)
    title = "What each domain gives: change against CoALM 8B (Table 5)"
    return _figure(canvas, "ablations", title, "; ".join(alts))


def failure_bars(tasks: Sequence[Task]) -> Figure | None:
    """How often each model is right, and how it fails otherwise (Figure 3's comparison)."""
    if not tasks:
        return None
    totals: dict[str, int] = {}
    for task in tasks:
        for counts in task.counts.values():
            for kind, count in counts.items():
                totals[kind] = totals.get(kind, 0) + count
    kinds = sorted(totals, key=lambda kind: (kind != "right", -totals[kind]))
    rows = [(task, model) for task in tasks for model in task.counts]
    canvas = Canvas(figsize=(_WIDTH, 1.5 + 0.36 * len(rows) + 0.3 * len(tasks)))
    canvas.set_layout_engine("constrained")
    axes = canvas.subplots()
    places, place = [], 0.0
    for task in tasks:
        axes.text(
            0, place - 0.62, _short(task.name), fontsize=_SMALL, fontweight="bold", va="center"
        )
        for _ in task.counts:
            places.append(place)
            place += 1
        place += 0.9
    for index, (task, model) in enumerate(rows):
        counts = task.counts[model]
        start = 0.0
        for number, kind in enumerate(kinds):
            share = 100 * counts[kind] / counts.total()
            if not share:
                continue
            colour = _FAILURES[number % len(_FAILURES)]
            axes.barh(places[index], share, 0.7, left=start, color=colour)
            if share >= 7:
                axes.text(
                    start + share / 2, places[index], f"{counts[kind]}", ha="center", va="center",
                    fontsize=_SMALL, color="white", fontweight="bold",
                )  # fmt: skip
            start += share
    for number, kind in enumerate(kinds):
        axes.barh(0, 0, color=_FAILURES[number % len(_FAILURES)], label=kind)
    axes.set_yticks(places, [f"{model}, n={task.counts[model].total()}" for task, model in rows])
    axes.set_ylim(place - 1, -1.1)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the answers")
    canvas.legend(loc="outside lower center", ncols=3, fontsize=_SMALL, columnspacing=1.0)
    alt = "; ".join(
        f"{_short(task.name)}, {model}: "
        + ", ".join(
            f"{kind} {task.counts[model][kind]}" for kind in kinds if task.counts[model][kind]
        )
        for task, model in rows
    )
    return _figure(canvas, "errors", "Right answers and failures by type (Figure 3)", alt)


def leading_metric(result: TaskResult) -> str:
    """Returns the metric that stands for a task of LM Evaluation Harness."""
    for name in ("acc_norm", "acc", "exact_match (strict-match)", "prompt_level_strict_acc"):
        if name in result.metrics:
            return name
    return next(iter(result.metrics))


def _is_general(result: TaskResult) -> bool:
    return not result.task.startswith("coalm-oumi/")


def length_histogram(mixture: Mixture) -> Figure | None:
    """How long the samples of each source are, in tokens."""
    stats = mixture.stats or {}
    if not (histogram := stats.get("histogram")):
        return None
    edges, samples = histogram["edges"], histogram["samples"]
    canvas = Canvas(figsize=(_WIDTH, 0.8 + 0.95 * len(samples)), layout="constrained")
    grid = canvas.subplots(len(samples), 1, sharex=True, squeeze=False)[:, 0]
    window = stats["window"]
    for number, (axes, (source, counts)) in enumerate(zip(grid, samples.items(), strict=True)):
        axes.stairs(counts, edges, fill=True, color=COLOURS[number + 1])
        axes.text(
            0.995, 0.9, f"{source}, {sum(counts):,} samples", ha="right", va="top",
            transform=axes.transAxes, fontsize=_SMALL,
        )  # fmt: skip
        if window <= edges[-1]:
            axes.axvline(window, color=INK, linestyle="--", linewidth=1)
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    grid[-1].set_xlabel(
        f"tokens per sample; dashed: the window of {window:,}"
        if window <= edges[-1]
        else "tokens per sample"
    )
    rows = {row["source"]: row for row in stats["sources"]}
    alt = "; ".join(f"{source}: mean {rows[source]['tokens_per_sample']:.0f}" for source in samples)
    name = "lengths_" + re.sub(r"\W+", "_", mixture.name)
    return _figure(canvas, name.rstrip("_"), f"Lengths of samples in {mixture.name}", alt)


def _colour(run: str) -> str:
    kind = paper.kind_of(run)
    return _KINDS[kind] if kind else COLOURS[6]


def _of(number: Number | None) -> str:
    return f"{number.value:.1f}" if number else "nothing"


def _short(task: str) -> str:
    return _words(task.removeprefix("coalm-oumi/"))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(canvas: Canvas, name: str, title: str, alt: str) -> Figure:
    png, svg = io.BytesIO(), io.StringIO()
    canvas.savefig(png, format="png", dpi=150, facecolor="white")
    canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return Figure(name, title, alt, _inline(svg.getvalue(), name, alt), png.getvalue())


_IDS: Sequence[tuple[str, Callable[[str], str]]] = (
    (r'\bid="([^"]+)"', lambda prefix: rf'id="{prefix}-\1"'),
    (r"url\(#([^)]+)\)", lambda prefix: rf"url(#{prefix}-\1)"),
    (r'href="#([^"]+)"', lambda prefix: rf'href="#{prefix}-\1"'),
)


def _inline(svg: str, name: str, alt: str) -> str:
    """Makes an SVG part of a page: unique ids, the page's ink and font, no outer size."""
    svg = svg[svg.index("<svg") :]
    for pattern, renamed in _IDS:
        svg = re.sub(pattern, renamed(name), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^(<svg [^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'^(<svg [^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans', ", "")
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


def by_name(figures: Sequence[Figure]) -> Mapping[str, Figure]:
    """Returns figures by their names."""
    return {figure.name: figure for figure in figures}
