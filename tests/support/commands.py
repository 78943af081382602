"""Real runs of the `oumi` and `coalm` commands, in processes that a test can kill.

A run is forked from a process that has imported Oumi. It has the entry points, arguments, signals
and exit code of a run from a shell, without the seconds that the import takes.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPO
from tests.support import PATIENCE

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["coalm_oumi.cli.app", "coalm_oumi.oumi_plugin.register"])


class Command:
    """One run, which leads a process group."""

    def __init__(self, *words: str | Path, log: Path, **environment: str) -> None:
        """Starts it in the checkout.

        Args:
            *words: `oumi` or `coalm`, and the arguments.
            log: Takes what the run prints.
            **environment: More environment variables.
        """
        self._log = log
        arguments = [str(word) for word in words]
        self._process = _context.Process(target=_run, args=(arguments, str(log), environment))
        self._process.start()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that happens while the run goes on.

        Raises:
            AssertionError: The run ended first, or took too long.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.is_alive(), f"it ended first:\n{self.output}"
            assert time.monotonic() < deadline, f"it took too long:\n{self.output}"
            time.sleep(0.01)

    def send(self, sign: signal.Signals, *, group: bool = False) -> None:
        """Sends a signal to the process, or to its group as a terminal does."""
        assert self._process.pid is not None
        (os.killpg if group else os.kill)(self._process.pid, sign)

    def wait(self) -> int | None:
        """Returns the exit code; that of a process which a signal ended is negative."""
        self._process.join(PATIENCE)
        assert not self._process.is_alive(), f"it hangs:\n{self.output}"
        return self._process.exitcode


def run(*words: str | Path, log: Path, **environment: str) -> tuple[int | None, str]:
    """Runs a command to its end, and returns its exit code and what it printed."""
    command = Command(*words, log=log, **environment)
    code = command.wait()
    return code, command.output


def _run(words: list[str], log: str, environment: dict[str, str]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    os.chdir(REPO)
    os.environ.update({"COLUMNS": "400", **environment})
    sys.argv = words
    if words[0] == "oumi":
        from oumi.cli import cli_utils, main

        cli_utils.CONSOLE.width = 400  # it was made before this process knew its width
        main.run()
    else:
        from coalm_oumi.cli.app import main

        sys.exit(main())
