"""Runs coroutines concurrently in an event loop, for callers outside of one. They stop together."""

import asyncio
import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator, Set
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from oumi.utils.logging import logger

_R = TypeVar("_R")
_T = TypeVar("_T")

GRACE_SECONDS = 5.0
"""Seconds that stopped work waits for the answers under way, because they are paid for."""


class SideBySide(Generic[_R]):
    """Runs coroutines, a given number at a time.

    Attributes:
        is_stopping: True once no coroutine may start anything more.
    """

    def __init__(self, work: Iterator[Coroutine[Any, Any, _R]], at_once: int | None) -> None:
        """Starts nothing yet.

        Args:
            work: The coroutines, taken only when they can start.
            at_once: The most concurrent coroutines; None for all.
        """
        self.is_stopping = False
        self._work = work
        self._at_once = at_once
        self._loop = asyncio.new_event_loop()
        self._live: set[asyncio.Task[_R]] = set()
        self._ended: asyncio.Queue[asyncio.Task[_R]] = asyncio.Queue()
        self._at_server: Set[asyncio.Task[Any]] = frozenset()
        self._first_error: BaseException | None = None
        self._grace: list[asyncio.TimerHandle] = []

    def results(
        self, *within: AbstractAsyncContextManager[Any], at_server: Set[asyncio.Task[Any]]
    ) -> Generator[list[_R]]:
        """Runs all coroutines.

        Args:
            within: A context that is opened in the event loop before the first one starts, and
                closed after the last.
            at_server: The tasks that are waiting for a server. They are stopped last.

        Yields:
            The result of each coroutine that ended without raising.

        Raises:
            BaseException: The error of the first coroutine that failed, the error that `stop` was
                given, or KeyboardInterrupt at Ctrl-C, once all have ended.
        """
        self._at_server = at_server
        opened = contextlib.AsyncExitStack()

        async def open_() -> None:
            for context in within:
                await opened.enter_async_context(context)

        with _on_interrupt(self._loop, self._interrupt):
            try:
                self.wait(open_())
                while self._start():
                    task = self.wait(self._ended.get())
                    self._live.discard(task)
                    if task.cancelled():
                        continue
                    if error := task.exception():
                        self.stop(error)
                    yield [] if error else [task.result()]
                if self._first_error is not None:
                    raise self._first_error
            finally:
                for handle in self._grace:
                    handle.cancel()
                for task in self._live:
                    task.cancel()
                if self._live:
                    self.wait(asyncio.wait(self._live))
                with contextlib.suppress(Exception):
                    self.wait(opened.aclose())
                self._loop.close()

    def wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs one more coroutine to its end, while the others go on."""
        return self._loop.run_until_complete(coroutine)

    def stop(self, error: BaseException, message: str = "") -> None:
        """Starts nothing more, and waits briefly for the answers under way.

        Args:
            error: The error that `results` will raise, if it is the first.
            message: A warning, with `{}` for the number of answers under way.
        """
        self._first_error = self._first_error or error
        if self.is_stopping:
            return
        self.is_stopping = True
        under_way = [task for task in self._live if task in self._at_server]
        if message:
            logger.warning(message.format(len(under_way)))
        for task in self._live.difference(under_way):
            task.cancel()
        self._grace = [self._loop.call_later(GRACE_SECONDS, task.cancel) for task in under_way]

    def _start(self) -> bool:
        """Starts all coroutines that can start. Returns True if any is under way."""
        if not self.is_stopping:
            free = None if self._at_once is None else self._at_once - len(self._live)
            for coroutine in itertools.islice(self._work, free):
                task = self._loop.create_task(coroutine)
                task.add_done_callback(self._ended.put_nowait)
                self._live.add(task)
        return bool(self._live)

    def _interrupt(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process
        self.stop(
            KeyboardInterrupt(),
            f"stopping; waiting up to {GRACE_SECONDS:g} s for {{}} answers under way (Ctrl-C again "
            "ends at once)",
        )


@contextlib.contextmanager
def _on_interrupt(loop: asyncio.AbstractEventLoop, handle: Callable[[], None]) -> Generator[None]:
    """Handles Ctrl-C inside the event loop, where it cannot cut a record in two."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if is_main else None
    if before in (None, signal.SIG_IGN):
        yield
        return
    loop.add_signal_handler(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
