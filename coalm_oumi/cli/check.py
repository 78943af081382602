"""`coalm check`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Changes, existing, report


def check(
    recipe: Annotated[
        Path,
        typer.Argument(
            callback=existing, help="A recipe for training, evaluation, inference or coalm build"
        ),
    ],
    changes: Changes = None,
) -> None:
    """Check a recipe's options and data before a model is loaded.

    The exit code is 1 if the recipe cannot run as it is.
    """
    from coalm_oumi.training.check import check as check_recipe

    report(check_recipe(recipe, changes or []))
