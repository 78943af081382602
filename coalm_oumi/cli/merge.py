"""`coalm merge`."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    adapter: Annotated[Path, typer.Argument(help="The output_dir of `oumi train`")],
    output: Annotated[Path, typer.Argument(help="The folder to write")],
    base: Annotated[
        str | None, typer.Option(help="The base model (default: the one that the adapter names)")
    ] = None,
) -> None:
    """Merge a trained adapter into its base model."""
    from coalm_oumi.training.weights import merge as merge_weights

    merge_weights(adapter, output, base=base)
    print(output)
