"""`coalm chat`."""

from pathlib import Path
from typing import Annotated

from coalm_oumi.cli.arguments import Changes, recipe_option


def chat(
    config: Annotated[Path, recipe_option("A chat recipe, such as recipes/chat/demo.yaml")],
    changes: Changes = None,
) -> None:
    """Talk to an agent that calls tools.

    `/trace` shows the calls of the last turn, `/reset` forgets the dialogue, and `/save FOLDER`
    keeps it as training data.
    """
    from coalm_oumi.agent.start import start_chat

    start_chat(config, changes or [])
