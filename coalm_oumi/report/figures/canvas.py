"""Shared by the figures: colours, style, and output as PNG and as SVG for the page."""
# pyright: standard

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure as Canvas

from coalm_oumi.report import paper

INK = "#1b1f24"
"""Text and axes: dark in a PNG, the page's own ink in its SVG."""

COLOURS = ("#7b8794", "#2f7fd6", "#d9542b", "#2a9461", "#a862c6", "#b8860b", "#0e9aa7", "#d0487f")
"""One colour per model, in the order of the tables; the first is the base model's. Each has a
contrast of 3:1 or more with white and with the page's dark background."""

KINDS = {
    "CoALM": COLOURS[2],
    "language agent": COLOURS[1],
    "dialogue system": COLOURS[3],
    "open model": COLOURS[0],
    "closed model": COLOURS[4],
}
"""The colours of the kinds of models (Appendix C)."""

WIDTH = 5.2
"""Inches: narrow, so that text stays readable on a phone."""

SMALL = 9.5

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "coalm",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, drawn.

    Attributes:
        name: The name of its file.
        title: Its title.
        alt: A description for readers who cannot see it.
        svg: For the page; text and axes have the page's colour.
        png: For the file.
    """

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


def colours(models: Sequence[str]) -> dict[str, str]:
    """Assigns each model its colour in all figures: grey for models that were not tuned."""
    found: dict[str, str] = {}
    for model in models:
        plain = is_plain(model) and COLOURS[0] not in found.values()
        others = len([colour for colour in found.values() if colour != COLOURS[0]])
        found[model] = COLOURS[0] if plain else COLOURS[1 + others % (len(COLOURS) - 1)]
    return found


def is_plain(model: str) -> bool:
    """Returns True if a run evaluates an untrained model."""
    run = model.rpartition("/")[2]
    return run == "base" or paper.kind_of(run) == "open model"


def colour_of(run: str) -> str:
    """Returns the colour of a run's kind of model."""
    kind = paper.kind_of(run)
    return KINDS[kind] if kind else COLOURS[6]


def short(task: str) -> str:
    """Returns the name of a task in words, without the package."""
    return words(task.removeprefix("coalm-oumi/"))


def words(name: str) -> str:
    """Returns a name in words."""
    return name.replace("_", " ")


def finished(canvas: Canvas, name: str, title: str, alt: str) -> Figure:
    """Returns a drawing as a PNG file and as an SVG of the page."""
    png, svg = io.BytesIO(), io.StringIO()
    canvas.savefig(png, format="png", dpi=150, facecolor="white")
    canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return Figure(name, title, alt, _inline(svg.getvalue(), name, alt), png.getvalue())


_IDS: Sequence[tuple[str, Callable[[str], str]]] = (
    (r'\bid="([^"]+)"', lambda prefix: rf'id="{prefix}-\1"'),
    (r"url\(#([^)]+)\)", lambda prefix: rf"url(#{prefix}-\1)"),
    (r'href="#([^"]+)"', lambda prefix: rf'href="#{prefix}-\1"'),
)


def _inline(svg: str, name: str, alt: str) -> str:
    """Adapts an SVG to a page: unique ids, the page's ink and font, no outer size."""
    svg = svg[svg.index("<svg") :]
    for pattern, renamed in _IDS:
        svg = re.sub(pattern, renamed(name), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^(<svg [^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'^(<svg [^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans', ", "")
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
