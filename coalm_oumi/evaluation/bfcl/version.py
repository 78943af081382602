"""The differences between versions of the benchmark, besides their data and checkers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

Columns = Callable[[Mapping[str, float], Mapping[str, int]], dict[str, float]]
"""Computes the leaderboard's columns, in [0, 1], from accuracies and sizes of categories."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the benchmark.

    Attributes:
        name: `v3` or `v4`.
        release: The release of `bfcl-eval` whose data and checkers are used.
        groups: The categories by the names of their groups; `all` holds every category.
        columns: Computes those of the columns whose categories were all evaluated.
        shown: The columns in the order of the table.
        notes: Columns that have no number, and what stands for it.
        folder: Where below a model's folder the package wants a category's result file.
        extras: Requirements of the package that are large and that few categories need.
        undeclared: Requirements that the package forgets to name.
        needs: Environment variables that categories cannot do without, by category.
        own_prompt: Categories that vary BFCL's own prompt, and so suit the style `bfcl` alone.
        encoders: Environments that take the extras and load an encoder, by category.
    """

    name: str
    release: str
    groups: Mapping[str, tuple[str, ...]]
    columns: Columns
    shown: tuple[str, ...]
    folder: Callable[[str], str]
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    extras: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict[str, str])
    own_prompt: tuple[str, ...] = ()
    encoders: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def task(self) -> str:
        """The name of the evaluation function."""
        return f"coalm-oumi/bfcl_{self.name}"


MULTI_TURN = (
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
)
MEANS: Mapping[str, tuple[str, ...]] = {
    "multi_turn": MULTI_TURN,
    "relevance": ("live_relevance",),
    "irrelevance": ("irrelevance", "live_irrelevance"),
}
"""The columns of every version that are means over categories."""


def known(categories: tuple[str, ...], accuracies: Mapping[str, float]) -> bool:
    """Returns True if all of the categories were evaluated."""
    return all(category in accuracies for category in categories)


def means(
    columns: Mapping[str, tuple[str, ...]], accuracies: Mapping[str, float]
) -> dict[str, float]:
    """Returns the mean over the categories of each column whose categories were all evaluated."""
    return {
        column: fmean(accuracies[category] for category in categories)
        for column, categories in columns.items()
        if known(categories, accuracies)
    }


def non_live_ast(
    simple: tuple[str, ...], multiple: tuple[str, ...], accuracies: Mapping[str, float]
) -> list[float]:
    """Returns the values whose mean is `non_live_ast`.

    The languages of `simple` count as one value, their mean.
    """
    languages = fmean(accuracies[category] for category in simple)
    return [languages, *(accuracies[category] for category in multiple)]


def by_samples(
    categories: tuple[str, ...], accuracies: Mapping[str, float], sizes: Mapping[str, int]
) -> float:
    """Returns the mean over the samples of several categories."""
    right = sum(accuracies[category] * sizes[category] for category in categories)
    return right / sum(sizes[category] for category in categories)
