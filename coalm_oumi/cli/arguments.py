"""Arguments that several commands share."""

from typing import Annotated

import typer

Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the YAML")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes")]


def positive(value: float | None) -> float | None:
    """Checks a number of the command line.

    Raises:
        typer.BadParameter: It is not above zero.
    """
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value:g} is not positive")
    return value
