"""Bootstrap confidence intervals of metrics, from the records of the samples."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Columns
from coalm_oumi.evaluation.results import AnswerRecord
from coalm_oumi.report.collect import TaskResult

RESAMPLES = 2000
_BFCL = {version.task: version for version in (V3, V4)}
_VERDICTS = ("correct", "ast_match", "joint_goal_accuracy")
_PERCENT = ("rouge_l", "rouge_1", "rouge_2", "bleu_4")


def interval(result: TaskResult, metric: str) -> tuple[float, float] | None:
    """Returns the 95 % confidence interval of a metric: the percentile bootstrap over samples.

    MultiWOZ's dialogues are drawn whole, because the turns of one are not independent samples.
    BFCL's samples are drawn within their categories, which its scores weight. If a task gives a
    standard error instead of samples, the interval extends 1.96 standard errors to each side.

    Args:
        result: The result of a task.
        metric: One of its metrics.

    Returns:
        The bounds, in [0, 1] like the metric. None if there are no samples, if they belong to
        another result, or if all are alike, because resampling them would feign certainty.
    """
    value = result.metrics.get(metric)
    if value is None:
        return None
    if metric in result.errors:
        margin = 1.96 * result.errors[metric]
        return value - margin, value + margin
    random = np.random.default_rng(0)
    if result.task in _BFCL:
        drawn = _draw_categories(result, metric, value, random)
    else:
        drawn = _draw_shares(_parts(result, metric), value, random)
    if drawn is None:
        return None
    low, high = np.quantile(drawn, (0.025, 0.975))
    return None if math.isclose(low, high) else (float(low), float(high))


def interval_in_percent(result: TaskResult, metric: str) -> tuple[float, float] | None:
    """Returns the bounds of `interval` in %."""
    bounds = interval(result, metric)
    return None if bounds is None else (100 * bounds[0], 100 * bounds[1])


def _parts(result: TaskResult, metric: str) -> list[Sequence[float]]:
    """Returns each sample's contributions to the metric's numerator and denominator."""
    answers = result.answers
    if answers and "turns_right" in answers[0]:  # whole dialogues
        if metric == "joint_goal_accuracy":
            return [(row.get("turns_right", 0), row.get("turns", 0)) for row in answers]
        return [(value, 1) for value in _numbers(answers, metric)]
    counts = (row.get("parts", {}) for row in answers)
    if parts := [part[metric] for part in counts if metric in part]:
        return list(parts)
    if metric == "readable":
        return [(row["unreadable"] is None, 1) for row in answers]
    if metric in _VERDICTS:
        return [(row["correct"], 1) for row in answers]
    if metric in _PERCENT:
        return [(value / 100, 1) for value in _numbers(answers, metric)]
    return []


def _numbers(answers: Sequence[AnswerRecord], metric: str) -> list[float]:
    values = (row.get(metric) for row in answers)
    return [value for value in values if isinstance(value, int | float)]


def _draw_shares(
    parts: Sequence[Sequence[float]], value: float, random: np.random.Generator
) -> np.ndarray | None:
    if not parts:
        return None
    right, whole = np.array(parts, dtype=float).T
    if not whole.sum() or not math.isclose(right.sum() / whole.sum(), value, abs_tol=1e-6):
        return None  # the files belong to another run
    chosen = random.integers(len(parts), size=(RESAMPLES, len(parts)))
    rights, wholes = right[chosen].sum(axis=1), whole[chosen].sum(axis=1)
    return np.divide(rights, wholes, out=np.zeros(RESAMPLES), where=wholes > 0)


def _draw_categories(
    result: TaskResult, metric: str, value: float, random: np.random.Generator
) -> np.ndarray | None:
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for row in result.answers:
        verdicts[row.get("source", "")].append(row["correct"])
    sizes = result.sizes or {category: len(found) for category, found in verdicts.items()}
    shares = {category: sum(found) / len(found) for category, found in verdicts.items()}
    columns = _BFCL[result.task].columns
    known = _bfcl_metric(columns, shares, sizes, metric)
    if known is None or not math.isclose(known, value, abs_tol=1e-6):
        return None
    # Of n verdicts of a category, n draws give a binomial number of right ones.
    drawn = {
        category: random.binomial(len(found), shares[category], RESAMPLES) / len(found)
        for category, found in verdicts.items()
    }
    if metric.startswith("category/"):
        return drawn[metric.removeprefix("category/")]
    rows = [dict(zip(drawn, row, strict=True)) for row in np.column_stack(list(drawn.values()))]
    found = [_bfcl_metric(columns, row, sizes, metric) for row in rows]
    return np.array(found, dtype=float)


def _bfcl_metric(
    columns: Columns, shares: dict[str, float], sizes: Mapping[str, int], metric: str
) -> float | None:
    if metric.startswith("category/"):
        return shares.get(metric.removeprefix("category/"))
    return columns(shares, sizes).get(metric)
