"""`coalm build`."""

import argparse
import os
from pathlib import Path

HELP = "build a CoALM-IT mixture from raw sources"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, help="a recipes/data/*.yaml")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that render (default: one a core)",
    )
    parser.add_argument(
        "--push-to-hub", metavar="OWNER/NAME", help="send it there when it is built"
    )
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the YAML")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.data.mixture.build import build
    from coalm_oumi.data.mixture.config import load_config
    from coalm_oumi.data.mixture.store import MANIFEST
    from coalm_oumi.files.jsontext import read_json

    folder = build(load_config(options.config, options.changes), workers=options.workers)
    manifest = read_json(folder / MANIFEST)
    for split, counts in manifest["samples"].items():
        print(f"{split}: {sum(counts.values())} samples", end=" ")
        print(f"({', '.join(f'{name} {count}' for name, count in counts.items())})")
    rejected = sum(len(items) for items in manifest["rejected"].values())
    if rejected:
        print(f"{rejected} records gave no sample; {folder / MANIFEST} lists them with the reason")
    print(folder)
    if options.push_to_hub:
        from coalm_oumi.data.mixture.write import push

        print(push(folder, options.push_to_hub))
    return 0
