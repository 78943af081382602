"""`coalm report`."""

import argparse
from pathlib import Path

HELP = "render what training and evaluation wrote, beside the paper's tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "run_dir", type=Path, nargs="+", help="folders of runs, such as output/demo"
    )
    parser.add_argument(
        "--output", type=Path, help="the folder to write into (default: the first of them)"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.report.page import write

    for file in write(options.run_dir, options.output):
        print(file)
    return 0
