"""A limit on the time that a piece of work may take."""
# pyright: standard

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Interrupts work that takes longer, repeatedly, because the package catches every exception.

    It works in the main thread of a process.

    Raises:
        TimeoutError: It took longer.
    """

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"not done within {seconds:.0f} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
