"""`coalm merge`."""

import argparse
from pathlib import Path

HELP = "merge a trained adapter into its base model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("adapter", type=Path, help="the output_dir of `oumi train`")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--base", help="the base model (default: the one the adapter names)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.training.weights import merge

    merge(options.adapter, options.output, base=options.base)
    print(options.output)
    return 0
