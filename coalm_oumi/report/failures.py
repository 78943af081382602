"""Failures of models: by type, and for the same sample across models (paper, Figure 3)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.results import AnswerRecord
from coalm_oumi.files.atomic import write_page
from coalm_oumi.files.jsontext import write_json
from coalm_oumi.rendering import markdown
from coalm_oumi.rendering.prompts import PAGE_STYLE, templates
from coalm_oumi.report.collect import TaskResult, collect


@dataclass(frozen=True, slots=True)
class ComparedSample:
    """One sample, and each model's answer to it.

    Attributes:
        id: The sample's name.
        question: The question.
        offered: The functions or slots that the question lists, if the task records them.
        target: The reference.
        answers: The recorded answer of each model, by the model's label.
    """

    id: str
    question: str
    offered: str
    target: str
    answers: Mapping[str, AnswerRecord]


@dataclass(frozen=True, slots=True)
class Task:
    """One task over all models.

    Attributes:
        name: The task.
        counts: How often each model failed in each way; the key `right` counts right answers.
        samples: The samples that a model got wrong, first those that another got right.
    """

    name: str
    counts: Mapping[str, Counter[str]]
    samples: Sequence[ComparedSample]


def failure_of(record: AnswerRecord) -> str:
    """Names the failure of an answer, `right` if there is none."""
    if record["correct"]:
        return "right"
    return record.get("failure") or ("format" if record.get("unreadable") else "wrong")


def find(folder: Path, only: str | None = None) -> list[Task]:
    """Reads the answers of all evaluations under a folder.

    Args:
        folder: A folder of runs, one evaluation folder per model.
        only: Only tasks with this in their name.

    Raises:
        CoalmError: There are no answers.
    """
    tasks = compare([r for r in collect(folder).results if only is None or only in r.task])
    if not tasks:
        of = f" of a task with `{only}` in its name" if only else ""
        raise CoalmError(
            f"{folder}: no answers{of} under it; point to the folder that holds the output_dir of "
            "`oumi evaluate`"
        )
    return tasks


def compare(results: Sequence[TaskResult]) -> list[Task]:
    """Compares models on each task whose answers were saved."""
    by_task: dict[str, list[TaskResult]] = defaultdict(list)
    for result in results:
        if result.answers:
            by_task[result.task].append(result)
    return [_task(name, found) for name, found in sorted(by_task.items())]


def _task(name: str, results: Sequence[TaskResult]) -> Task:
    counts = {r.model: Counter(failure_of(record) for record in r.answers) for r in results}
    answers: dict[tuple[str, str, str], dict[str, AnswerRecord]] = defaultdict(dict)
    for result in results:
        for record in result.answers:
            key = (record.get("dialogue_id", ""), record["input"], record["target"])
            answers[key][result.model] = record
    samples: list[ComparedSample] = []
    for (id_, question, target), by_model in answers.items():
        offered = next(iter(by_model.values())).get("offered", "")
        samples.append(ComparedSample(id_, question, offered, target, by_model))
    wrong = [s for s in samples if not all(record["correct"] for record in s.answers.values())]
    wrong.sort(key=lambda s: not any(record["correct"] for record in s.answers.values()))
    return Task(name, counts, wrong)


def as_markdown(tasks: Sequence[Task]) -> str:
    """Writes the counts as Markdown tables, one per task."""
    parts: list[str] = []
    for task in tasks:
        heads = kinds(task)
        rows: list[list[str]] = []
        for model, counts in task.counts.items():
            rows.append([model, *(str(counts[kind]) for kind in heads), str(counts.total())])
        parts.append(f"## {task.name}\n\n{markdown.table(['model', *heads, 'of'], rows)}")
    return "\n\n".join(parts)


def kinds(*tasks: Task) -> list[str]:
    """Returns `right` and the types of failure that occur, the most frequent first."""
    totals: Counter[str] = Counter()
    for task in tasks:
        for counts in task.counts.values():
            totals.update(counts)
    wrong = [kind for kind, _ in totals.most_common() if kind != "right"]
    return ["right", *wrong]


def write(folder: Path, tasks: Sequence[Task], *, samples: int) -> Sequence[Path]:
    """Writes `errors.html`, with models side by side, and the counts as `errors.json`.

    Args:
        folder: The folder of runs.
        tasks: The tasks that `find` returned.
        samples: The number of samples per task on the page.

    Returns:
        The files written.
    """
    page, counts = folder / "errors.html", folder / "errors.json"
    environment = templates(Path(__file__).parent, PAGE_STYLE, autoescape=True)
    rendered = environment.get_template("failures.jinja").render(
        title=folder.resolve().name,
        tasks=[(task, kinds(task), task.samples[:samples]) for task in tasks],
        failure_of=failure_of,
    )
    write_page(page, rendered)
    write_json(counts, {task.name: task.counts for task in tasks})
    return [page, counts]
