"""`coalm errors`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.rendering.terminal import say


def errors(
    run_dir: Annotated[Path, typer.Argument(help="A folder of runs, such as output/demo")],
    task: Annotated[
        str | None, typer.Option(help="Only tasks with this in their name, such as api_bank")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples per task on the page")] = 20,
) -> None:
    """Count failures by type, and compare models on the same samples."""
    from coalm_oumi.report import failures

    tasks = failures.find(run_dir, task)
    say(failures.as_markdown(tasks))
    for file in failures.write(run_dir, tasks, samples=samples):
        say(file)
