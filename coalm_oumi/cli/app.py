"""The `coalm` command: registers the commands and turns errors into one line and an exit code."""

import functools
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import click
import typer

from coalm_oumi import __version__
from coalm_oumi.cli.build import build
from coalm_oumi.cli.card import card
from coalm_oumi.cli.chat import chat
from coalm_oumi.cli.check import check
from coalm_oumi.cli.cra import cra
from coalm_oumi.cli.demo_model import demo_model
from coalm_oumi.cli.doctor import doctor
from coalm_oumi.cli.errors import errors
from coalm_oumi.cli.merge import merge
from coalm_oumi.cli.overlap import overlap
from coalm_oumi.cli.plan import plan
from coalm_oumi.cli.quantize import quantize
from coalm_oumi.cli.recipes import recipes
from coalm_oumi.cli.report import report
from coalm_oumi.cli.reproduce import reproduce
from coalm_oumi.cli.stats import stats
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import one_line
from coalm_oumi.rendering.terminal import say

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as in shells: 128 + SIGINT."""

app = typer.Typer(
    name="coalm",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(recipes)
app.command()(build)
app.command()(stats)
app.command()(overlap)
app.add_typer(cra)
app.command()(check)
app.command()(plan)
app.command("demo-model")(demo_model)
app.command()(quantize)
app.command()(merge)
app.command()(chat)
app.command()(card)
app.command()(errors)
app.command()(report)
app.command()(reproduce)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"coalm-oumi {__version__}")
        raise typer.Exit


@app.callback()
def _coalm(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version"),
    ] = False,
) -> None:
    """Build CoALM's data, plan and check its runs, and report on them.

    To train and to evaluate, run `oumi train -c recipes/...` and `oumi evaluate -c recipes/...`.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `coalm`; None takes those of this process.

    Returns:
        The exit code: 0; 1 for bad input and 2 for a wrong command line, each with a message on
        standard error; 130 after Ctrl-C; or the code that the command ends with.
    """
    _leave_interrupts_to_this_process()
    command = typer.main.get_command(app)
    words = None if arguments is None else list(arguments)
    try:
        code = command.main(words, prog_name="coalm", standalone_mode=False)
    except click.ClickException as error:  # a wrong command line
        error.show()
        return error.exit_code
    except (CoalmError, OSError) as error:  # OSError: a full disk, a folder without permission
        say(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code or 0


@functools.cache
def _leave_interrupts_to_this_process() -> None:
    """Makes forked processes ignore Ctrl-C, at which each would print a traceback."""
    os.register_at_fork(after_in_child=_ignore_interrupts)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
