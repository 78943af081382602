"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.files.resources import check_recipe

Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe")
]
Workers = Annotated[int, typer.Option(min=1, help="Parallel processes")]


def positive(value: float | None) -> float | None:
    """Checks a number of the command line.

    Raises:
        typer.BadParameter: It is not above zero.
    """
    if value is not None and not value > 0:
        raise typer.BadParameter(f"expected a number above 0, found {value:g}")
    return value


def existing(recipe: Path | None) -> Path | None:
    """Checks that a recipe exists, before a command's imports, which take seconds.

    Raises:
        CoalmError: There is no such file.
    """
    if recipe is not None:
        check_recipe(recipe)
    return recipe
