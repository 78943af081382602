"""Renders run folders as a self-contained HTML page, and as Markdown, CSV, LaTeX and PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.files.atomic import write_bytes, write_page
from coalm_oumi.rendering.prompts import PAGE_STYLE, templates
from coalm_oumi.report import failures, figures, paper, runs, tables
from coalm_oumi.report.collect import Runs, TaskResult, collect
from coalm_oumi.report.intervals import interval_in_percent

_EXAMPLES = 6
_METRICS = 8
"""The number of metrics per task that are visible; the others are folded."""


@dataclass(frozen=True, slots=True)
class Share:
    """One metric of one model.

    Attributes:
        value: In %.
        interval: Its 95 % confidence interval.
        best: Whether no other model has a higher value, and another has a lower one.
    """

    value: float
    interval: tuple[float, float] | None
    best: bool


@dataclass(frozen=True, slots=True)
class TaskTable:
    """All metrics of one task.

    Attributes:
        task: Its name.
        rows: The metrics, each with a share per model; None if the model has no such result.
        runs: The result of each model.
        examples: Samples that a model got wrong.
    """

    task: str
    rows: Sequence[tuple[str, Sequence[Share | None]]]
    runs: Sequence[TaskResult | None]
    examples: Sequence[failures.ComparedSample]

    @property
    def counts(self) -> Sequence[str]:
        """The names of the task's other counts, of all models."""
        return list(dict.fromkeys(name for run in self.runs if run for name in run.counts))

    @property
    def has_loss(self) -> bool:
        """True if a run computed the loss of the targets."""
        return any(run.target_loss is not None for run in self.runs if run)


def write(folders: Sequence[Path], output: Path | None = None) -> Sequence[Path]:
    """Writes `report.html` and `report.md`, and figures and tables under `report/`.

    Args:
        folders: The folders of runs.
        output: The folder to write to; None for the first of these.

    Returns:
        The files written, the page first.

    Raises:
        CoalmError: The folders hold nothing to report.
    """
    found = collect(*folders)
    output = output or folders[0]
    models = {result.model for result in found.results}
    models = sorted(models, key=lambda model: (not figures.is_plain(model), model))
    compared = failures.compare(found.results)
    of_paper = tables.all_tables(found.results, found.mixtures)
    drawn = figures.draw_all(found, failures=compared, tables=of_paper, models=models)
    fields = {
        "title": output.resolve().name,
        "models": models,
        "figures": figures.by_name(drawn),
        "tasks": _task_tables(found, models, compared),
        "in_sight": _METRICS,
        "tables": of_paper,
        "failures": [(task, failures.kinds(task)) for task in compared],
        "general": [recipe for recipe in paper.evaluation_recipes() if _is_general(recipe)],
        "training": found.training,
        "mixtures": found.mixtures,
        "records": runs.records(found),
        "warnings": runs.warnings(found),
    }
    home = Path(__file__).parent
    page, markdown, parts = output / "report.html", output / "report.md", output / "report"
    html = templates(home, PAGE_STYLE, autoescape=True).get_template("page.jinja")
    files = {page: html.render(**fields, failure_of=failures.failure_of)}
    files[markdown] = (
        templates(home).get_template("markdown.jinja").render(**fields, table=tables.as_markdown)
    )
    for table in of_paper:
        files[parts / f"table_{table.number}.csv"] = tables.as_csv(table)
        files[parts / f"table_{table.number}.tex"] = tables.as_latex(table)
    for figure in drawn:
        write_bytes(parts / f"{figure.name}.png", figure.png)
    for file, text in files.items():
        write_page(file, text)
    return [*files, *(parts / f"{figure.name}.png" for figure in drawn)]


def _is_general(recipe: paper.EvaluationRecipe) -> bool:
    return not any(task.startswith("coalm-oumi/") for task in recipe.tasks)


def _task_tables(
    found: Runs, models: Sequence[str], compared: Sequence[failures.Task]
) -> list[TaskTable]:
    examples = {task.name: task.samples[:_EXAMPLES] for task in compared}
    tasks = list(dict.fromkeys(result.task for result in found.results))
    made: list[TaskTable] = []
    for task in tasks:
        by_model = {result.model: result for result in found.results if result.task == task}
        metrics = list(dict.fromkeys(name for r in by_model.values() for name in r.metrics))
        made.append(
            TaskTable(
                task=task,
                rows=[(metric, _shares(by_model, models, metric)) for metric in metrics],
                runs=[by_model.get(model) for model in models],
                examples=examples.get(task, []),
            )
        )
    return made


def _shares(
    by_model: dict[str, TaskResult], models: Sequence[str], metric: str
) -> list[Share | None]:
    values = {m: r.metrics[metric] for m, r in by_model.items() if metric in r.metrics}
    best = max(values.values())
    shares: list[Share | None] = []
    for model in models:
        if model not in values:
            shares.append(None)
            continue
        shares.append(
            Share(
                value=100 * values[model],
                interval=interval_in_percent(by_model[model], metric),
                best=values[model] == best and len(set(values.values())) > 1,
            )
        )
    return shares
