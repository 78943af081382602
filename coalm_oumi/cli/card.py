"""`coalm card`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import PushToHub, recipe_option
from coalm_oumi.rendering.terminal import say


def card(
    model: Annotated[Path, typer.Argument(help="The folder of an adapter or of a merged model")],
    config: Annotated[
        Path | None, recipe_option("The training recipe, if the run did not record one")
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="The folder of the runs whose results the card shows"),
    ] = None,
    push_to_hub: PushToHub = None,
) -> None:
    """Write a model's card, and optionally push the model to the Hub."""
    from coalm_oumi.report.card import push, write
    from coalm_oumi.training.recipe import read_recipe

    say(write(model, read_recipe(config) if config else None, run_dir=run_dir))
    if push_to_hub:
        say(push(model, push_to_hub))
