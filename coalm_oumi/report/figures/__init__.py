"""The figures of a report: PNG files, and SVG that follows the page's colour scheme.

One module per figure or kind of figure; `canvas` holds the shared code.
"""
# pyright: standard

from collections.abc import Mapping, Sequence

import matplotlib

from coalm_oumi.report.collect import Runs
from coalm_oumi.report.failures import Task
from coalm_oumi.report.figures.canvas import STYLE, Figure, is_plain
from coalm_oumi.report.figures.failures import failure_bars
from coalm_oumi.report.figures.lengths import length_histogram
from coalm_oumi.report.figures.skills import both_skills
from coalm_oumi.report.figures.tables import ablations, paper_bars
from coalm_oumi.report.figures.tasks import forgetting, metric_bars
from coalm_oumi.report.figures.training import smoothed, training_curves
from coalm_oumi.report.tables import Table

__all__ = ["Figure", "by_name", "draw_all", "is_plain", "smoothed"]

matplotlib.use("agg")


def draw_all(
    found: Runs, *, failures: Sequence[Task], tables: Sequence[Table], models: Sequence[str]
) -> list[Figure]:
    """Draws the figures for which there is data.

    Results that were asked differently than in the paper are in no figure with the paper's numbers.
    """
    by_number = {table.number: table.comparable() for table in tables}
    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        drawn = [
            training_curves(found.training),
            metric_bars(found.results, models),
            *(paper_bars(by_number[number]) for number in (2, 3, 4)),
            both_skills(by_number[2], by_number[4]),
            ablations(by_number[5]),
            failure_bars(failures),
            forgetting(found.results, models),
            *(length_histogram(mixture) for mixture in found.mixtures),
        ]
    return [figure for figure in drawn if figure is not None]


def by_name(figures: Sequence[Figure]) -> Mapping[str, Figure]:
    """Returns figures by their names."""
    return {figure.name: figure for figure in figures}
