"""`coalm errors`."""

import argparse
from pathlib import Path

HELP = "count failures by type, and put models side by side on the same samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("run_dir", type=Path, help="a folder of runs, such as output/demo")
    parser.add_argument("--task", help="only tasks with this in their name, such as api_bank")
    parser.add_argument(
        "--samples", type=int, default=20, help="samples a task on the page (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.report import failures

    tasks = failures.find(options.run_dir, options.task)
    print(failures.as_text(tasks))
    for file in failures.write(options.run_dir, tasks, samples=options.samples):
        print(file)
    return 0
