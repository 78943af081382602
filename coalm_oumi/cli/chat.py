"""`coalm chat`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Changes, existing


def chat(
    config: Annotated[
        Path,
        typer.Option(
            "-c",
            "--config",
            callback=existing,
            help="A chat recipe, such as recipes/chat/demo.yaml",
        ),
    ],
    changes: Changes = None,
) -> None:
    """Talk to an agent that calls tools.

    `/trace` shows the calls of the last turn, `/reset` forgets the dialogue, and `/save FOLDER`
    keeps it as training data.
    """
    from coalm_oumi.agent.start import start_chat

    start_chat(config, changes or [])
