"""The arguments that `coalm cra validate` and `coalm cra review` share."""

from pathlib import Path
from typing import Annotated

import typer

Transcripts = Annotated[
    Path, typer.Argument(help="The transcripts that `coalm cra generate` wrote")
]
Sgd = Annotated[Path, typer.Option(help="The split of SGD that the transcripts were made from")]
Functions = Annotated[
    str,
    typer.Option(
        help="The functions that may be called: all, or those of the dialogue's services (dialogue)"
    ),
]
