"""The `coalm` command: arguments in, one function call, text out."""

import argparse
import sys
from collections.abc import Sequence

# Heavy imports stay inside the commands, so that `coalm --help` answers at once.
from coalm_oumi import __version__
from coalm_oumi.cli import (
    build,
    card,
    cra,
    demo_model,
    doctor,
    errors,
    merge,
    overlap,
    plan,
    quantize,
    report,
    reproduce,
    stats,
)
from coalm_oumi.core.errors import CoalmError

COMMANDS = {
    "build": build,
    "stats": stats,
    "overlap": overlap,
    "cra": cra,
    "plan": plan,
    "demo-model": demo_model,
    "quantize": quantize,
    "merge": merge,
    "card": card,
    "errors": errors,
    "report": report,
    "reproduce": reproduce,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0, or 1 with one line on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except CoalmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder without permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coalm",
        description="Builds the data of CoALM and reports on its runs. Training and evaluation "
        "are `oumi train -c recipes/...` and `oumi evaluate -c recipes/...`.",
    )
    parser.add_argument("--version", action="version", version=f"coalm-oumi {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    for name, command in COMMANDS.items():
        chosen = commands.add_parser(name, help=command.HELP)
        command.add_arguments(chosen)
        chosen.set_defaults(run=command.run)
    return parser
