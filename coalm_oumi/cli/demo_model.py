"""`coalm demo-model`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.rendering.terminal import say


def demo_model(
    path: Annotated[Path, typer.Argument(help="The folder to write")] = Path("output/demo/model"),
) -> None:
    """Fetch and convert the demo's small model."""
    from coalm_oumi.training.demo_model import prepare

    origin = prepare(path)
    say(f"{path}: {origin}")
