"""`coalm report`."""

import argparse
from pathlib import Path

HELP = "render what training and evaluation wrote"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("run_dir", type=Path, help="a folder of runs, such as output/demo")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.report.page import write

    for file in write(options.run_dir):
        print(file)
    return 0
