"""`coalm merge`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from coalm_oumi.rendering.terminal import say

WORTH_SAYING = 0.05
"""The share of an adapter's update above which its loss by rounding is printed."""


def merge(
    adapter: Annotated[Path, typer.Argument(help="The output_dir of `oumi train`")],
    output: Annotated[Path, typer.Argument(help="The folder to write")],
    base: Annotated[
        str | None,
        typer.Option(
            help="The base model, a hub id or a folder (default: the one that the adapter names)"
        ),
    ] = None,
    dtype: Annotated[
        Literal["bfloat16", "float32"], typer.Option(help="Precision of the merged weights")
    ] = "bfloat16",
) -> None:
    """Merge a trained adapter into its base model."""
    from coalm_oumi.training.weights import merge as merge_weights

    lost = merge_weights(adapter, output, base=base, dtype=dtype)
    say(output)
    if lost > WORTH_SAYING:
        say(
            f"{dtype} rounded away {lost:.0%} of the adapter's update. Serve the adapter itself, "
            "or merge with --dtype float32, which keeps the update but doubles the file size",
            file=sys.stderr,
        )
