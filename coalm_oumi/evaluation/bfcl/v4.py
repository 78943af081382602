"""BFCL V4: its categories, and the leaderboard's columns from them."""

from collections.abc import Mapping
from statistics import fmean, stdev

from coalm_oumi.evaluation.bfcl.environment import SEARCH_KEY
from coalm_oumi.evaluation.bfcl.version import (
    MEANS,
    MULTI_TURN,
    Version,
    by_samples,
    known,
    means,
    non_live_ast,
)

_SIMPLE = ("simple_python", "simple_java", "simple_javascript")
_MULTIPLE = ("multiple", "parallel", "parallel_multiple")
_LIVE_AST = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
_LIVE = (*_LIVE_AST, "live_irrelevance", "live_relevance")
_WEB_SEARCH = ("web_search_base", "web_search_no_snippet")
_MEMORY = ("memory_kv", "memory_vector", "memory_rec_sum")
_NON_LIVE = (*_SIMPLE, *_MULTIPLE, "irrelevance")
_SCORING = (*_NON_LIVE, *_LIVE, *MULTI_TURN, *_WEB_SEARCH, *_MEMORY)

_FORMAT_SENSITIVITY = "format_sensitivity"
"""200 questions in 26 forms of BFCL's own prompt each. It is not a part of the overall accuracy."""

_WEIGHTS: Mapping[str, float] = {
    "non_live_ast": 0.1,
    "live": 0.1,
    "irrelevance": 0.1,
    "multi_turn": 0.3,
    "agentic": 0.4,
}


def columns(accuracies: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Returns those of the leaderboard's columns whose categories were all evaluated.

    As `generate_leaderboard_csv` of bfcl-eval 2026.3.23 computes them. Means are over categories,
    all but `live`, which is over samples; `agentic` is the mean of web search and memory. A column
    with a category missing is left out, where the leaderboard counts the category as zero.

    Args:
        accuracies: The share of right answers in each category, and in each form of prompt as
            `format_sensitivity/<form>`.
        sizes: How many samples each category has in the benchmark.

    Returns:
        `overall`, `non_live_ast`, `live`, `multi_turn`, `agentic`, `web_search`, `memory`,
        `relevance`, `irrelevance`, in [0, 1]; the greatest difference between two forms of prompt
        and their standard deviation, `format_max_delta` and `format_std`, likewise.
    """
    found = means({**MEANS, "web_search": _WEB_SEARCH, "memory": _MEMORY}, accuracies)
    if known((*_SIMPLE, *_MULTIPLE), accuracies):
        found["non_live_ast"] = fmean(non_live_ast(_SIMPLE, _MULTIPLE, accuracies))
    if known(_LIVE_AST, accuracies):
        found["live"] = by_samples(_LIVE_AST, accuracies, sizes)
    if "web_search" in found and "memory" in found:
        found["agentic"] = fmean([found["web_search"], found["memory"]])
    if known(tuple(_WEIGHTS), found):
        found["overall"] = sum(weight * found[column] for column, weight in _WEIGHTS.items())
    forms = [
        share for name, share in accuracies.items() if name.startswith(f"{_FORMAT_SENSITIVITY}/")
    ]
    if len(forms) > 1:
        found["format_max_delta"] = max(forms) - min(forms)
        found["format_std"] = stdev(forms)
    return found


def folder(category: str) -> str:
    """Returns where below a model's folder the package wants a category's result file."""
    name = category.removesuffix("_prereq")
    if name in _MEMORY:
        return f"agentic/memory/{name.removeprefix('memory_')}"
    groups = {"agentic": _WEB_SEARCH, "multi_turn": MULTI_TURN, "live": _LIVE}
    found = (group for group, categories in groups.items() if name in categories)
    return next(found, name if name == _FORMAT_SENSITIVITY else "non_live")


V4 = Version(
    name="v4",
    release="2026.3.23",
    groups={
        "all": (*_SCORING, _FORMAT_SENSITIVITY),
        "all_scoring": _SCORING,
        "non_live": _NON_LIVE,
        "live": _LIVE,
        "single_turn": (*_NON_LIVE, *_LIVE),
        "multi_turn": MULTI_TURN,
        "web_search": _WEB_SEARCH,
        "memory": _MEMORY,
        "agentic": (*_WEB_SEARCH, *_MEMORY),
    },
    columns=columns,
    shown=(
        "overall",
        "non_live_ast",
        "live",
        "multi_turn",
        "agentic",
        "web_search",
        "memory",
        "relevance",
        "irrelevance",
        "format_max_delta",
        "format_std",
    ),
    folder=folder,
    extras=("sentence-transformers",),
    undeclared=("soundfile",),  # of its qwen-agent, for the command `bfcl`
    needs=dict.fromkeys(_WEB_SEARCH, SEARCH_KEY),
    own_prompt=(_FORMAT_SENSITIVITY,),
    encoders={"memory_vector": "MemoryAPI_vector"},
)
"""The version that followed: agents beside V3's categories."""
