"""A thread that runs jobs one after another, beside the thread that waits for them.

The thread is a daemon, so a tool that never returns does not keep the program from ending, and
Ctrl-C works in the middle of a batch. At its end, the process would wait for a thread of Python's
own pools.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_R = TypeVar("_R")


class Worker:
    """The thread."""

    def __init__(self, name: str) -> None:
        """Starts it."""
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]] | None] = queue.Queue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, job: Callable[[], _R], timeout: float | None) -> _R:
        """Runs a job and returns its result.

        A job that waits behind a hanging one until its time is over is never started: the user was
        told that it failed, so it must not happen later.

        Args:
            job: The job.
            timeout: The most seconds to wait; None for no limit.

        Raises:
            TimeoutError: It did not end in time.
            Exception: Any error of the job.
        """
        future = self.submit(job)
        try:
            return future.result(timeout)
        finally:
            future.cancel()

    def submit(self, job: Callable[[], _R]) -> "Future[_R]":
        """Queues a job without waiting for it."""
        future: Future[_R] = Future()
        self._jobs.put((future, job))
        return future

    def stop(self) -> None:
        """Ends the thread after its current job."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # a tool may raise anything; the caller gets it
                future.set_exception(error)
