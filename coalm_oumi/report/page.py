"""Renders a run folder as one self-contained HTML page, with its figure as PNG beside it."""

import base64
from collections.abc import Sequence
from pathlib import Path

from coalm_oumi.files import write_bytes, write_text
from coalm_oumi.prompts import templates
from coalm_oumi.report import figures
from coalm_oumi.report.collect import Runs, TaskResult, collect

_EXAMPLES = 6
_VERSIONS = ("oumi", "torch", "transformers", "peft", "datasets")


def write(folder: Path) -> Sequence[Path]:
    """Writes `report.html` and `report.png` into a run folder.

    Returns:
        The files written.

    Raises:
        CoalmError: The folder holds nothing to report.
    """
    runs = collect(folder)
    models = sorted({result.model for result in runs.results}, key=lambda m: (m != "base", m))
    picture = figures.draw(runs.training, runs.results, models)
    png, page = folder / "report.png", folder / "report.html"
    write_bytes(png, picture)
    write_text(page, _render(folder, runs, models, picture))
    return [page, png]


def _render(folder: Path, runs: Runs, models: Sequence[str], picture: bytes) -> str:
    environment = templates(Path(__file__).parent, autoescape=True)
    return environment.get_template("page.jinja").render(
        title=folder.resolve().name,
        picture=base64.b64encode(picture).decode(),
        models=models,
        tables=[_table(task, runs.results, models) for task in _tasks(runs.results)],
        training=runs.training,
        manifest=runs.manifest,
        versions={name: runs.versions[name] for name in _VERSIONS if name in runs.versions},
    )


def _tasks(results: Sequence[TaskResult]) -> list[str]:
    return list(dict.fromkeys(result.task for result in results))


def _table(task: str, results: Sequence[TaskResult], models: Sequence[str]) -> dict[str, object]:
    by_model = {result.model: result for result in results if result.task == task}
    metrics = list(dict.fromkeys(name for r in by_model.values() for name in r.metrics))
    rows = []
    for metric in metrics:
        shares = [
            by_model[model].metrics.get(metric) if model in by_model else None for model in models
        ]
        best = max((share for share in shares if share is not None), default=None)
        rows.append({"metric": metric, "shares": shares, "best": best})
    return {
        "task": task,
        "rows": rows,
        "runs": [by_model.get(model) for model in models],
        "same_samples": _same_samples(list(by_model.values())),
        "examples": _examples([by_model[model] for model in models if model in by_model]),
    }


def _questions(result: TaskResult) -> list[tuple[str, str]]:
    return [(row["input"], row["target"]) for row in result.answers]


def _same_samples(results: Sequence[TaskResult]) -> bool:
    """Says whether all models answered the same questions, as far as their answers were kept."""
    kept = [_questions(result) for result in results if result.answers]
    return all(questions == kept[0] for questions in kept)


def _examples(results: Sequence[TaskResult]) -> list[dict[str, object]]:
    """Puts answers of all models beside each other, where they saw the same samples.

    Those come first that one model got right and another did not.
    """
    results = [result for result in results if result.answers]
    questions = [_questions(result) for result in results]
    if not questions or not _same_samples(results):
        return []
    order = sorted(
        range(len(questions[0])),
        key=lambda index: len({result.answers[index]["correct"] for result in results}) == 1,
    )
    return [
        {
            "input": source,
            "target": target,
            "answers": [(result.model, result.answers[index]) for result in results],
        }
        for index in order[:_EXAMPLES]
        for source, target in [questions[0][index]]
    ]
