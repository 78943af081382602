"""`coalm reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli import chains
from coalm_oumi.cli.arguments import Changes, recipe_option
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.rendering.terminal import say


def reproduce(
    changes: Changes = None,
    scale: Annotated[
        str | None, typer.Option(help="A chain of recipes/reproduce, such as demo, 8b, 70b or 405b")
    ] = None,
    config: Annotated[
        Path | None,
        recipe_option("Your own chain, instead of --scale"),
    ] = None,
    really: Annotated[bool, typer.Option("--run", help="Run the stages that are not done")] = False,
) -> None:
    """Print a chain of commands, from raw data to the report, or run its open stages."""
    if (scale is None) == (config is None):
        raise typer.BadParameter("give one of --scale and --config")
    chain = chains.load_chain(config or _file_of(scale or ""), changes or [])
    if really:
        chains.run(chain)
    else:
        say(chains.as_text(chains.plan(chain)))


def _file_of(scale: str) -> Path:
    home = resource_dir("recipes") / "reproduce"
    scales = sorted(found.stem for found in home.glob("*.yaml"))
    if scale not in scales:
        raise CoalmError(f"--scale {scale}: expected one of {', '.join(scales)}")
    return home / f"{scale}.yaml"
