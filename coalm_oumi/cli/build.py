"""`coalm build`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Changes, PushToHub, recipe_option
from coalm_oumi.core.wording import counted
from coalm_oumi.rendering.terminal import say


def build(
    config: Annotated[Path, recipe_option("A recipe such as recipes/data/coalm_it.yaml")],
    changes: Changes = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Rendering processes (default: one per core)")
    ] = None,
    push_to_hub: PushToHub = None,
) -> None:
    """Build a CoALM-IT mixture from raw sources."""
    from coalm_oumi.data.mixture.build import build as build_mixture
    from coalm_oumi.data.mixture.config import load_config
    from coalm_oumi.data.mixture.store import MANIFEST
    from coalm_oumi.files.jsontext import read_json

    mixture = load_config(config, changes or [])
    folder = build_mixture(mixture, workers=workers or os.cpu_count() or 1)
    manifest = read_json(folder / MANIFEST)
    for split, counts in manifest["samples"].items():
        parts = ", ".join(f"{name} {count}" for name, count in counts.items())
        say(f"{split}: {sum(counts.values())} samples ({parts})")
    rejected = sum(len(items) for items in manifest["rejected"].values())
    if rejected:
        records = counted(rejected, "record")
        say(f"{records} without a sample; {folder / MANIFEST} lists the reasons")
    say(folder)
    if push_to_hub:
        from coalm_oumi.data.mixture.write import push

        say(push(folder, push_to_hub))
