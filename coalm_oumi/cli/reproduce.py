"""`coalm reproduce`."""

import argparse
from pathlib import Path

HELP = "print or run the whole chain: build, train, evaluate, report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--scale", help="demo, 8b, 70b, 405b or another of recipes/reproduce")
    chosen.add_argument("-c", "--config", type=Path, help="a chain of one's own")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--dry-run", action="store_true", help="print the commands and what is done (the default)"
    )
    mode.add_argument("--run", action="store_true", dest="really", help="run what is not done")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the YAML")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.cli import chains as reproduce
    from coalm_oumi.core.errors import CoalmError
    from coalm_oumi.files.resources import resource_dir

    file = options.config
    if file is None:
        home = resource_dir("recipes") / "reproduce"
        scales = sorted(found.stem for found in home.glob("*.yaml"))
        if options.scale not in scales:
            raise CoalmError(f"--scale {options.scale}: expected one of {', '.join(scales)}")
        file = home / f"{options.scale}.yaml"
    chain = reproduce.load_chain(file, options.changes)
    if options.really:
        reproduce.run(chain)
    else:
        print(reproduce.as_text(reproduce.plan(chain)))
    return 0
