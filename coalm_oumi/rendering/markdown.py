"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Writes a table: the first column is aligned left, the others right.

    Cells are not padded, so that a changed number changes one line of a stored report.

    >>> print(table(["model", "right"], [["a|b", "3"]]))
    | model | right |
    | --- | ---: |
    | a\|b | 3 |
    """
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = [_line(head), f"| {' | '.join(rule)} |"]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
