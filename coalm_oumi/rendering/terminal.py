"""Tables for a terminal."""

from rich.console import Console
from rich.table import Table

_WIDE = 240
"""The width in characters where the output is no terminal: a pipe, a file, a log."""


def table(first: str, *others: str) -> Table:
    """Makes a table with a column of names, which is followed by columns of numbers.

    Args:
        first: The head of the first column, which is aligned left.
        others: The heads of the others, which are aligned right.
    """
    made = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="bold")
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
