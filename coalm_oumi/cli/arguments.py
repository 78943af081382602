"""Arguments that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from coalm_oumi.core.finding import Finding
from coalm_oumi.files.resources import check_recipe
from coalm_oumi.rendering.terminal import say

Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe")
]
Workers = Annotated[int, typer.Option(min=1, help="Parallel processes")]
PushToHub = Annotated[
    str | None, typer.Option(metavar="OWNER/NAME", help="Push the result to the Hugging Face Hub")
]


def positive(value: float | None) -> float | None:
    """Checks that a number on the command line is above 0.

    Raises:
        typer.BadParameter: It is not.
    """
    if value is not None and not value > 0:
        raise typer.BadParameter(f"expected a number above 0, found {value:g}")
    return value


def existing(recipe: Path | None) -> Path | None:
    """Checks that a recipe exists, before the command's slow imports.

    Raises:
        CoalmError: There is no such file.
    """
    if recipe is not None:
        check_recipe(recipe)
    return recipe


def recipe_option(help: str) -> Any:
    """Returns the option `-c`, which names an existing recipe."""
    return typer.Option("-c", "--config", callback=existing, help=help)


def report(findings: Iterable[Finding]) -> None:
    """Prints findings, and ends the command with exit code 1 if something must be fixed."""
    healthy = True
    for finding in findings:
        healthy = healthy and finding.ok
        say(finding)
    if not healthy:
        raise typer.Exit(1)
