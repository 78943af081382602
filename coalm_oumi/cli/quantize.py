"""`coalm quantize`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import recipe_option
from coalm_oumi.rendering.terminal import say


def quantize(
    config: Annotated[Path, recipe_option("A training recipe")],
    output: Annotated[Path, typer.Argument(help="The folder to write")],
    model: Annotated[
        str | None, typer.Option(help="The model, a hub id or a folder (default: the recipe's)")
    ] = None,
) -> None:
    """Quantise a QLoRA recipe's model once, before training."""
    from coalm_oumi.training.recipe import read_recipe
    from coalm_oumi.training.weights import quantize as quantize_weights

    recipe = read_recipe(config)
    recipe.model.model_name = model or recipe.model.model_name
    quantize_weights(recipe, output)
    say(output)
