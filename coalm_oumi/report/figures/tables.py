"""Tables 2-5 of the paper as bars, with our results beside its numbers."""
# pyright: standard

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from coalm_oumi.report import paper
from coalm_oumi.report.figures.canvas import COLOURS, INK, SMALL, WIDTH, Figure, colour_of, finished
from coalm_oumi.report.tables import Cell, Number, Table


def paper_bars(table: Table) -> Figure | None:
    """Draws one of Tables 2-4 as bars: the paper's outlined, ours filled, with intervals."""
    columns = list(paper.table(table.number).columns.values())
    shown = [number for number, column in enumerate(columns) if column.shown]
    rows = [
        row for row in table.rows if any(row.cells[n].paper or row.cells[n].ours for n in shown)
    ]
    canvas = Canvas(figsize=(WIDTH, 0.9 + 0.34 * len(rows)), layout="constrained")
    grid = canvas.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, number in zip(grid, shown, strict=True):
        for index, row in enumerate(rows):
            _bars(axes, index, row.cells[number], colour_of(row.run))
        axes.set_title(table.columns[number])
        axes.set_xlim(0, 185 if table.ours else 145)
        axes.spines["bottom"].set_bounds(0, 100)
        axes.set_xticks((0, 50, 100))
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(rows)), [row.name for row in rows], fontsize=SMALL)
    grid[0].invert_yaxis()
    canvas.supxlabel("%; outlined: the paper, filled: ours", fontsize=SMALL)
    alts: list[str] = []
    for row in rows:
        parts: list[str] = []
        for n in shown:
            known, ours = _of(row.cells[n].paper), _of(row.cells[n].ours)
            parts.append(f"{table.columns[n]} {known} in the paper, {ours} ours")
        alts.append(f"{row.name}: {', '.join(parts)}")
    title = f"{table.title} (Table {table.number})"
    return finished(canvas, f"table_{table.number}", title, "; ".join(alts))


def _bars(axes: Axes, place: int, cell: Cell, colour: str) -> None:
    """Draws the paper's number and ours at one place, and writes both behind them."""
    if cell.paper:
        axes.barh(place, cell.paper.value, 0.7, facecolor="none", edgecolor=colour)
    if cell.ours:
        axes.barh(place, cell.ours.value, 0.42, color=colour)
    if cell.interval:
        axes.plot(cell.interval, (place, place), color=INK, linewidth=1.4)
    ends = [figure.value for figure in (cell.paper, cell.ours) if figure]
    if ends:
        text = " / ".join(f"{end:.1f}" for end in ends)
        end = max(*ends, *(cell.interval or ()), 0)
        axes.text(end + 4, place, text, va="center", fontsize=SMALL)


def _of(number: Number | None) -> str:
    return f"{number.value:.1f}" if number else "nothing"


def ablations(table: Table) -> Figure | None:
    """Draws Table 5: the loss of each score without a domain, against the full CoALM 8B."""
    full = next(row for row in table.rows if row.run == "coalm_8b")
    without = [row for row in table.rows if "_wo_" in row.run]
    rows = len(without) * (len(table.columns) + 1.6)
    canvas = Canvas(figsize=(WIDTH, 0.6 + 0.26 * rows), layout="constrained")
    axes = canvas.subplots()
    places, texts, alts = [], [], []
    reach = y = 0.0
    for row in without:
        axes.text(
            0, y, row.name, ha="right", va="center", fontweight="bold", fontsize=SMALL,
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
        axes.text(reach + 3, place, text, va="center", fontsize=SMALL)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(places, list(table.columns) * len(without), fontsize=SMALL)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.8, -0.8)
    axes.set_xlim(-reach - 3, reach + 3 + (0.8 if table.ours else 0.45) * reach)
    axes.set_xlabel("percentage points; outlined: the paper, filled: ours", fontsize=SMALL)
    title = "What each domain gives: change against CoALM 8B (Table 5)"
    return finished(canvas, "ablations", title, "; ".join(alts))
