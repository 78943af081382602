"""`coalm doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import existing
from coalm_oumi.rendering.terminal import say


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "-c",
            "--config",
            callback=existing,
            help="Also check access to the models and data that this recipe names on the hub",
        ),
    ] = None,
) -> None:
    """Check that everything is in place.

    The exit code is 1 if something must be fixed.
    """
    from coalm_oumi.oumi_plugin.doctor import examine

    healthy = True
    for finding in examine(config):
        healthy = healthy and finding.ok
        say(finding)
    if not healthy:
        raise typer.Exit(1)
