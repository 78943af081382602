"""BFCL V3: its categories, and Table 4's columns from them."""

from collections.abc import Mapping
from statistics import fmean

from coalm_oumi.evaluation.bfcl.version import (
    MEANS,
    MULTI_TURN,
    Version,
    by_samples,
    known,
    means,
    non_live_ast,
)

_SIMPLE = ("simple", "java", "javascript")
_MULTIPLE = ("multiple", "parallel", "parallel_multiple")
_LIVE = (
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
_NON_LIVE = (*_SIMPLE, *_MULTIPLE, "irrelevance")
_ALL = (*_NON_LIVE, *_LIVE, *MULTI_TURN)


def columns(accuracies: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Returns those of Table 4's columns whose categories were all evaluated.

    As `generate_leaderboard_csv` of bfcl-eval 2025.6.16 computes them. `overall` is the mean of
    live, non-live and multi-turn, and the latter means are over categories, all but live, which is
    over samples. A column with a category missing is left out, where the leaderboard counts the
    category as zero. Non-live execution is never there: see `V3.notes`.

    Args:
        accuracies: The share of right answers in each category.
        sizes: How many samples each category has in the benchmark.

    Returns:
        `overall`, `non_live_ast`, `live`, `multi_turn`, `relevance`, `irrelevance`, in [0, 1].
    """
    found = means(MEANS, accuracies)
    if known(_LIVE, accuracies):
        found["live"] = by_samples(_LIVE, accuracies, sizes)
    if known((*_SIMPLE, *_MULTIPLE), accuracies):
        ast = non_live_ast(_SIMPLE, _MULTIPLE, accuracies)
        found["non_live_ast"] = fmean(ast)
        if known(_ALL, accuracies):
            non_live = fmean([*ast, accuracies["irrelevance"]])
            found["overall"] = fmean([non_live, found["live"], found["multi_turn"]])
    return found


V3 = Version(
    name="v3",
    release="2025.6.16",  # as all from 2025.6.8 to 2025.8.6.2
    groups={
        "all": _ALL,
        "non_live": _NON_LIVE,
        "live": _LIVE,
        "single_turn": (*_NON_LIVE, *_LIVE),
        "multi_turn": MULTI_TURN,
    },
    columns=columns,
    shown=("overall", "non_live_ast", "live", "multi_turn", "relevance", "irrelevance"),
    folder=lambda category: "",
    # The package holds the questions of Table 4's executable categories still, but neither their
    # checker nor the functions that they call.
    notes={"non_live_exec": "retired"},
)
"""The version of the paper."""
