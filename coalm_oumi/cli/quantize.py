"""`coalm quantize`."""

import argparse
from pathlib import Path

HELP = "quantise a QLoRA recipe's model once, before training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, help="a training recipe")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--model", help="another model than the recipe's, a hub id or a folder")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.training.recipe import read_recipe
    from coalm_oumi.training.weights import quantize

    recipe = read_recipe(options.config)
    recipe.model.model_name = options.model or recipe.model.model_name
    quantize(recipe, options.output)
    print(options.output)
    return 0
