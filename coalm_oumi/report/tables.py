"""Tables 1-5: the paper's numbers, ours beside them, and the differences."""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from coalm_oumi.core import paper as core_paper
from coalm_oumi.data.mixture.stats import paper_total
from coalm_oumi.rendering import markdown
from coalm_oumi.report import paper
from coalm_oumi.report.collect import Mixture, TaskResult
from coalm_oumi.report.intervals import interval_in_percent

Mark = Literal["", "best", "second"]
ABLATIONS = 5
"""The number of the ablations' table, to which our other runs add no rows."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a table.

    Attributes:
        value: As the table prints it: in %, or a count.
        mark: Whether it is the best or second best of its column.
    """

    value: float
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The paper's number and ours.

    Attributes:
        paper: The paper's number, or None.
        ours: Our number; None if the run is missing.
        interval: The 95 % confidence interval of ours.
        samples: The number of samples of ours.
        whole: The number of samples of the benchmark, if ours has fewer.
        asked: How ours was asked, if the paper asked differently. The two are not comparable.
    """

    paper: Number | None = None
    ours: Number | None = None
    interval: tuple[float, float] | None = None
    samples: int | None = None
    whole: int | None = None
    asked: str | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, in percentage points or samples; None if asked differently."""
        if self.asked:
            return None
        return self.ours.value - self.paper.value if self.ours and self.paper else None


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: The paper's name, or the name of our run if the paper has no such row.
        run: The name of the evaluation.
        cells: One per column.
        commands: The commands that give the missing cells.
    """

    name: str
    run: str
    cells: Sequence[Cell]
    commands: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the paper with our numbers."""

    number: int
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[TableRow]
    digits: int
    commands: Sequence[tuple[str, str]]
    """The commands that give the missing cells, each with its rows."""

    @property
    def ours(self) -> int:
        """The number of our results in it."""
        return sum(cell.ours is not None for row in self.rows for cell in row.cells)

    def comparable(self) -> "Table":
        """Returns the table without our numbers that were asked differently than the paper's."""
        rows: list[TableRow] = []
        for row in self.rows:
            cells = [Cell(paper=cell.paper) if cell.asked else cell for cell in row.cells]
            rows.append(replace(row, cells=cells))
        return replace(self, rows=rows)

    def text(self, value: float) -> str:
        """Writes a number as this table does."""
        return f"{value:,.{self.digits}f}"

    def change(self, value: float) -> str:
        """Writes a difference, with its sign."""
        return f"{value:+,.{self.digits}f}".replace("-", "\u2212")


def all_tables(results: Sequence[TaskResult], mixtures: Sequence[Mixture]) -> list[Table]:
    """Returns Tables 1-5."""
    return [_mixture_table(mixtures), *(_benchmark_table(n, results) for n in paper.NUMBERS)]


def _benchmark_table(number: int, results: Sequence[TaskResult]) -> Table:
    printed = paper.table(number)
    columns = printed.columns
    by_run: dict[str, list[TaskResult]] = defaultdict(list)
    for result in results:
        by_run[result.run].append(result)
    rows: list[TableRow] = []
    for row in printed.rows:
        ours = by_run.get(row.run, [])
        cells = [_cell(ours, column, row.values.get(key)) for key, column in columns.items()]
        # Non-live execution has a number in the paper, but the benchmark has withdrawn it.
        # A number that was asked differently fills no gap.
        commands: dict[str, None] = {}
        for column, cell in zip(columns.values(), cells, strict=True):
            command = paper.command(row, column) if cell.ours is None or cell.asked else None
            if command:
                commands[command] = None
        rows.append(TableRow(row.name, row.run, cells, list(commands)))
    known = {row.run for each in paper.NUMBERS for row in paper.table(each).rows}
    for run, ours in by_run.items():
        cells = [_cell(ours, column, None) for column in columns.values()]
        if number != ABLATIONS and run not in known and any(cell.ours for cell in cells):
            rows.append(TableRow(run, run, cells))
    by_command: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for command in row.commands:
            by_command[command].append(row.name)
    return Table(
        number=number,
        title=printed.title,
        note=printed.note,
        columns=[column.label for column in columns.values()],
        rows=_marked(rows),
        digits=2 if number == 4 else 1,
        commands=[(", ".join(names), command) for command, names in by_command.items()],
    )


def _cell(results: Sequence[TaskResult], column: paper.Column, printed: float | None) -> Cell:
    """Puts the result of one run for a column beside the paper's number."""
    known = None if printed is None else Number(printed)
    found = [
        result
        for result in results
        if fnmatchcase(result.task, column.task) and column.metric in result.metrics
    ]
    if not found:
        return Cell(paper=known)
    # Prefer a result that was asked as in the paper to others of the same task.
    result = min(found, key=lambda result: _asked_otherwise(result, column) is not None)
    return Cell(
        paper=known,
        ours=Number(100 * result.metrics[column.metric]),
        interval=interval_in_percent(result, column.metric),
        samples=result.num_samples,
        whole=column.samples if column.samples != result.num_samples else None,
        asked=_asked_otherwise(result, column),
    )


def _asked_otherwise(result: TaskResult, column: paper.Column) -> str | None:
    """Returns the style of a result if it differs from the style of the paper's column."""
    if column.style is None or result.style is None or result.style == column.style:
        return None
    return result.style


def _mixture_table(mixtures: Sequence[Mixture]) -> Table:
    printed = core_paper.read()["table_1"]
    # If there are several mixtures, it is not known which to compare with the paper's.
    mixture = mixtures[0] if len(mixtures) == 1 else None
    ours = _counts(mixture) if mixture else {}
    rows: list[TableRow] = []
    for name, known in {**printed["rows"], "total": paper_total()}.items():
        cells: list[Cell] = []
        values = {**known, "mean": known["tokens"] / known["samples"]}
        for key in ("samples", "tokens", "mean"):
            found = ours.get(name, {}).get(key)
            mine = None if found is None else Number(found)
            cells.append(Cell(paper=Number(values[key]), ours=mine))
        rows.append(TableRow(name, name, cells))
    missing: list[tuple[str, str]] = []
    if not ours:
        missing.append(("the mixture", "coalm build -c recipes/data/coalm_it.yaml"))
    if mixture is None or mixture.stats is None:
        place = mixture.name if mixture else "data/coalm_it"
        missing.append(("its tokens", f"coalm stats {place}"))
    note = printed["note"]
    if len(mixtures) > 1:
        note = f"Ours is left out: there are {len(mixtures)} mixtures. {note}"
    return Table(
        number=1,
        title=printed["title"],
        note=note,
        columns=["samples", "tokens", "tokens per sample"],
        rows=rows,
        digits=0,
        commands=missing,
    )


def _counts(mixture: Mixture) -> dict[str, dict[str, float]]:
    counts: dict[str, dict[str, float]] = {}
    if mixture.stats:
        for row in mixture.stats.sources:
            mean = row.tokens_per_sample
            counts[row.source] = {"samples": row.samples, "tokens": row.tokens, "mean": mean}
        return counts
    totals: Counter[str] = Counter()
    for split in mixture.manifest.samples.values():
        totals.update(split)
    totals["total"] = totals.total()
    return {source: {"samples": count} for source, count in totals.items()}


def _marked(rows: Sequence[TableRow]) -> list[TableRow]:
    """Marks the best and the second best of each column, of the paper's and of ours.

    Our numbers that were asked differently than the paper's are not compared with the others.
    """
    cells = [list(row.cells) for row in rows]
    for column in range(len(cells[0]) if cells else 0):
        for side in ("paper", "ours"):
            figures = [
                None if side == "ours" and row[column].asked else getattr(row[column], side)
                for row in cells
            ]
            levels = sorted({figure.value for figure in figures if figure}, reverse=True)[:2]
            if len(levels) < 2:
                continue  # a single number is not the best
            for row, figure in zip(cells, figures, strict=True):
                if figure and figure.value in levels:
                    mark: Mark = "best" if figure.value == levels[0] else "second"
                    row[column] = replace(row[column], **{side: replace(figure, mark=mark)})
    return [replace(row, cells=found) for row, found in zip(rows, cells, strict=True)]


_CSV_COLUMNS = (
    *("row", "run", "column", "paper", "ours", "difference"),
    *("low", "high", "samples", "whole", "asked"),
)


def as_csv(table: Table) -> str:
    """Writes a table with a line for each cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            low, high = cell.interval or (None, None)
            paper_value = cell.paper.value if cell.paper else None
            our_value = cell.ours.value if cell.ours else None
            whole = cell.whole or cell.samples
            line = [row.name, row.run, column, paper_value, our_value, cell.difference]
            writer.writerow([*line, low, high, cell.samples, whole, cell.asked])
    return out.getvalue()


def as_markdown(table: Table) -> str:
    """Writes a table as Markdown: the paper's number, then ours, if there is one."""
    head = [""]
    for column in table.columns:
        head += [f"{column}, paper", f"{column}, ours"]
    rows: list[list[str]] = []
    for row in table.rows:
        texts = [row.name]
        for cell in row.cells:
            texts += [_marked_text(table, cell.paper, _IN_MARKDOWN), _our_text(table, cell)]
        rows.append(texts)
    return markdown.table(head, rows)


_IN_MARKDOWN: Mapping[Mark, str] = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}
_IN_LATEX: Mapping[Mark, str] = {
    "": "{}",
    "best": r"\textbf{{{}}}",
    "second": r"\underline{{{}}}",
}


def _marked_text(table: Table, number: Number | None, marks: Mapping[Mark, str]) -> str:
    return marks[number.mark].format(table.text(number.value)) if number else ""


def _our_text(table: Table, cell: Cell) -> str:
    """Writes our number with its difference, its interval and its samples in brackets."""
    if cell.ours is None:
        return "missing"
    ours = _marked_text(table, cell.ours, _IN_MARKDOWN)
    extra: list[str] = []
    if cell.asked:
        extra.append(f"asked differently: {cell.asked}")
    if cell.difference is not None:
        extra.append(table.change(cell.difference))
    if cell.interval:
        extra.append(f"95 % {table.text(cell.interval[0])} to {table.text(cell.interval[1])}")
    if cell.samples is not None:
        extra.append(f"n={cell.samples}" + (f" of {cell.whole}" if cell.whole else ""))
    return f"{ours} ({'; '.join(extra)})" if extra else ours


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match.group()], text)


def as_latex(table: Table) -> str:
    """Writes a table for LaTeX with the package `booktabs`: the paper's number and ours."""
    columns = len(table.columns)
    heads = [""]
    rules: list[str] = []
    for number, column in enumerate(table.columns, start=1):
        heads.append(rf"\multicolumn{{2}}{{c}}{{{_latex(column)}}}")
        rules.append(rf"\cmidrule(lr){{{2 * number}-{2 * number + 1}}}")
    rows: list[list[str]] = []
    for row in table.rows:
        texts = [_latex(row.name)]
        for cell in row.cells:
            dagger = r"$^\dagger$" if cell.asked else ""
            texts.append(_marked_text(table, cell.paper, _IN_LATEX) or "--")
            texts.append((_marked_text(table, cell.ours, _IN_LATEX) or "--") + dagger)
        rows.append(texts)
    is_asked_otherwise = any(cell.asked for row in table.rows for cell in row.cells)
    otherwise = r" $^\dagger$Asked differently than in the paper." if is_asked_otherwise else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'rr' * columns}}}",
        r"\toprule",
        _latex_row(heads),
        " ".join(rules),
        _latex_row(["", *["paper", "ours"] * columns]),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{_latex(table.title)}: the paper's numbers (Table {table.number}) and "
        rf"ours.{otherwise}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"
