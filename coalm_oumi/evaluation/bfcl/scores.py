"""Table 4's columns from the accuracies of the categories, weighted as on the leaderboard."""

from collections.abc import Iterable, Mapping
from statistics import fmean

SIMPLE = ("simple", "java", "javascript")
MULTIPLE = ("multiple", "parallel", "parallel_multiple")
LIVE = (
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
MULTI_TURN = (
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
)
NON_LIVE = (*SIMPLE, *MULTIPLE, "irrelevance")

GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": (*NON_LIVE, *LIVE, *MULTI_TURN),
    "non_live": NON_LIVE,
    "live": LIVE,
    "single_turn": (*NON_LIVE, *LIVE),
    "multi_turn": MULTI_TURN,
}
"""The categories by the names of their groups."""

RETIRED = "non_live_exec"
"""Table 4's column that V3 has no more: its categories were withdrawn with their checker."""


def columns(accuracies: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Returns those of Table 4's columns whose categories were all evaluated.

    As `generate_leaderboard_csv` of bfcl-eval 2025.6.16 computes them. `overall` is the mean of
    live, non-live and multi-turn, and the latter means are over categories, all but live, which is
    over samples. A column with a category missing is left out, where the leaderboard counts the
    category as zero. Non-live execution is never there: see `RETIRED`.

    Args:
        accuracies: The share of right answers in each category.
        sizes: How many samples each category has in the benchmark.

    Returns:
        `overall`, `non_live_ast`, `live`, `multi_turn`, `relevance`, `irrelevance`, in [0, 1].
    """

    def known(categories: Iterable[str]) -> bool:
        return all(category in accuracies for category in categories)

    found: dict[str, float] = {}
    if known(GROUPS["all"]):
        parts = _live(accuracies, sizes), _non_live(accuracies), _turns(accuracies)
        found["overall"] = fmean(parts)
    if known((*SIMPLE, *MULTIPLE)):
        found["non_live_ast"] = fmean(_ast(accuracies))
    if known(LIVE):
        found["live"] = _live(accuracies, sizes)
    if known(MULTI_TURN):
        found["multi_turn"] = _turns(accuracies)
    if known(["live_relevance"]):
        found["relevance"] = accuracies["live_relevance"]
    if known(["irrelevance", "live_irrelevance"]):
        found["irrelevance"] = fmean([accuracies["irrelevance"], accuracies["live_irrelevance"]])
    return found


def _ast(accuracies: Mapping[str, float]) -> list[float]:
    simple = fmean(accuracies[category] for category in SIMPLE)
    return [simple, *(accuracies[category] for category in MULTIPLE)]


def _non_live(accuracies: Mapping[str, float]) -> float:
    return fmean([*_ast(accuracies), accuracies["irrelevance"]])


def _live(accuracies: Mapping[str, float], sizes: Mapping[str, int]) -> float:
    right = sum(accuracies[category] * sizes[category] for category in LIVE)
    return right / sum(sizes[category] for category in LIVE)


def _turns(accuracies: Mapping[str, float]) -> float:
    return fmean(accuracies[category] for category in MULTI_TURN)
