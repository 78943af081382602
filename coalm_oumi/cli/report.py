"""`coalm report`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.rendering.terminal import say


def report(
    run_dir: Annotated[list[Path], typer.Argument(help="Folders of runs, such as output/demo")],
    output: Annotated[
        Path | None, typer.Option(help="The folder to write (default: the first RUN_DIR)")
    ] = None,
) -> None:
    """Render the results of training and evaluation beside the paper's tables."""
    from coalm_oumi.report.page import write

    for file in write(run_dir, output):
        say(file)
