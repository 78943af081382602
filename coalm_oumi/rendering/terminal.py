"""Lines and tables for a terminal, with control characters in names and data escaped."""

from typing import TextIO

from rich.console import Console, RenderableType
from rich.style import StyleType
from rich.table import Table

from coalm_oumi.core.wording import printable

_WIDE = 240
"""The width in characters if the output is not a terminal: a pipe, a file, a log."""


def say(line: object, *, file: TextIO | None = None) -> None:
    """Prints a line at once, with control characters escaped.

    Args:
        line: The line, or several.
        file: Standard output if not given.
    """
    print(printable(line), file=file, flush=True)


class _Plain(Table):
    """A table whose cells have their control characters escaped."""

    def add_row(
        self,
        *renderables: RenderableType | None,
        style: StyleType | None = None,
        end_section: bool = False,
    ) -> None:
        cells = (printable(cell) if isinstance(cell, str) else cell for cell in renderables)
        super().add_row(*cells, style=style, end_section=end_section)


def table(first: str, *others: str) -> Table:
    """Makes a table with a column of names, which is followed by columns of numbers.

    Args:
        first: The head of the first column, which is aligned left.
        others: The heads of the others, which are aligned right.
    """
    made = _Plain(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="bold")
    made.add_column(first, overflow="fold")
    for head in others:
        made.add_column(head, justify="right", min_width=10, no_wrap=True)
    return made


def show(*tables: Table) -> None:
    """Prints tables to standard output, one after another."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    for made in tables:
        console.print(made)
