"""`coalm card`."""

import argparse
from pathlib import Path

HELP = "write a model's card, and send the model to the hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", type=Path, help="an adapter, or what `coalm merge` wrote")
    parser.add_argument("-c", "--config", type=Path, required=True, help="the training recipe")
    parser.add_argument(
        "--run-dir", type=Path, help="where training and evaluations lie, as for `coalm report`"
    )
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="send it there, with its card")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.report.card import push, write
    from coalm_oumi.training.recipe import read_recipe

    print(write(options.model, read_recipe(options.config), run_dir=options.run_dir))
    if options.push_to_hub:
        print(push(options.model, options.push_to_hub))
    return 0
