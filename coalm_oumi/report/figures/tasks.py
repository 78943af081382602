"""Our runs by task, and general tasks before and after training."""
# pyright: standard

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Canvas

from coalm_oumi.report.collect import TaskResult
from coalm_oumi.report.figures.canvas import (
    INK,
    SMALL,
    WIDTH,
    Figure,
    colours,
    finished,
    short,
    words,
)
from coalm_oumi.report.intervals import interval_in_percent


def metric_bars(results: Sequence[TaskResult], models: Sequence[str]) -> Figure | None:
    """Draws the first metric of each of our tasks, with all models side by side."""
    results = [r for r in results if r.metrics and not _is_general(r)]
    leading = {r.task: next(iter(r.metrics)) for r in reversed(results)}
    return _task_bars(results, models, leading, "tasks", "Our runs, by task")


def forgetting(results: Sequence[TaskResult], models: Sequence[str]) -> Figure | None:
    """Draws general tasks of LM Evaluation Harness before and after training (section 7)."""
    results = [r for r in results if r.metrics and _is_general(r)]
    leading = {r.task: _leading_metric(r) for r in reversed(results)}
    title = "General tasks before and after training"
    return _task_bars(results, models, leading, "forgetting", title)


def _task_bars(
    results: Sequence[TaskResult],
    models: Sequence[str],
    leading: Mapping[str, str],
    name: str,
    title: str,
) -> Figure | None:
    """Draws a group of bars for each task, one per model, with their intervals."""
    found = {(r.model, r.task): r for r in results if leading[r.task] in r.metrics}
    tasks = list(dict.fromkeys(task for _, task in found))
    if not tasks:
        return None
    palette = colours(models)
    models = [model for model in models if any((model, task) in found for task in tasks)]
    rows = len(tasks) * (len(models) + 1.4)
    canvas = Canvas(figsize=(WIDTH, 0.6 + 0.26 * rows), layout="constrained")
    axes = canvas.subplots()
    alts = []
    y = 0.0
    for task in tasks:
        title_ = f"{short(task)}: {words(leading[task])}"
        axes.text(1, y, title_, va="center", fontsize=SMALL, fontweight="bold")
        for model in models:
            y += 1
            result = found.get((model, task))
            if result is None:
                axes.text(1, y, f"{model}: missing", va="center", fontsize=SMALL)
                continue
            value = 100 * result.metrics[leading[task]]
            axes.barh(y, value, 0.8, color=palette[model])
            end = value
            if bounds := interval_in_percent(result, leading[task]):
                end = bounds[1]
                axes.plot(bounds, (y, y), color=INK, linewidth=1.4)
            axes.text(end + 2, y, f"{model}: {value:.1f}", va="center", fontsize=SMALL)
            alts.append(f"{short(task)}, {words(leading[task])}, {model}: {value:.1f} %")
        y += 1.4
    axes.set_yticks([])
    axes.set_ylim(y - 0.6, -0.8)
    axes.set_xlim(0, 150)
    axes.spines["bottom"].set_bounds(0, 100)  # the space to the right is for text
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("%; the line is the 95 % interval")
    return finished(canvas, name, title, "; ".join(alts))


def _leading_metric(result: TaskResult) -> str:
    """Returns the main metric of a task of LM Evaluation Harness."""
    for name in ("acc_norm", "acc", "exact_match (strict-match)", "prompt_level_strict_acc"):
        if name in result.metrics:
            return name
    return next(iter(result.metrics))


def _is_general(result: TaskResult) -> bool:
    return not result.task.startswith("coalm-oumi/")
