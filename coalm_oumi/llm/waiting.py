"""Processes the items that coroutines wait for in batches, in a thread beside the event loop."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from coalm_oumi.core.worker import Worker

_T = TypeVar("_T")
_R = TypeVar("_R")

_SETTLING_SECONDS = 0.02
"""Seconds without a new item after which a batch starts. A batch takes much longer."""


class Batches(Generic[_T, _R]):
    """Work on several items at a time. Items that arrive meanwhile wait for the next batch.

    Example:
        >>> lengths = Batches(lambda texts: [len(text) for text in texts])
        >>> async with lengths.open():
        ...     length = await lengths.get("text")
    """

    def __init__(
        self,
        work: Callable[[Sequence[_T]], Sequence[_R]],
        *,
        size: int | None = None,
        weight: Callable[[_T], int] | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            work: Returns a result for each item of a batch.
            size: The most items per batch; None for all that are waiting.
            weight: Sorts a batch, heaviest items first; None keeps the order of arrival.
        """
        self._work = work
        self._size = size
        self._weight = weight
        self._waiting: list[tuple[_T, asyncio.Future[_R]]] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Processes batches while it is open."""
        self._wake = asyncio.Event()
        self._worker = Worker("batches")
        taking = asyncio.create_task(self._take())
        try:
            yield
        finally:
            taking.cancel()
            self._worker.stop()

    async def get(self, item: _T) -> _R:
        """Returns the result of an item, once its batch is done."""
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake.set()
        return await future

    async def _take(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            count = 0
            while count != len(self._waiting):  # more items are arriving
                count = len(self._waiting)
                await asyncio.sleep(_SETTLING_SECONDS)
            while self._waiting:
                waiting = [pair for pair in self._waiting if not pair[1].done()]
                if self._weight:
                    weight = self._weight
                    waiting.sort(key=lambda pair: weight(pair[0]), reverse=True)
                size = self._size or len(waiting)
                chunk, self._waiting = waiting[:size], waiting[size:]
                if chunk:
                    await self._carry_out(chunk)

    async def _carry_out(self, chunk: Sequence[tuple[_T, asyncio.Future[_R]]]) -> None:
        items = [item for item, _ in chunk]
        try:
            job = self._worker.submit(_on_this_device(lambda: self._work(items)))
            results = await asyncio.wrap_future(job)
        except Exception as error:
            for _, future in chunk:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(chunk, results, strict=True):
            if not future.done():
                future.set_result(result)


def _on_this_device(work: Callable[[], _R]) -> Callable[[], _R]:
    """Makes work use this thread's GPU, because each thread starts with the first one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return work
    device = torch.cuda.current_device()

    def work_there() -> _R:
        torch.cuda.set_device(device)
        return work()

    return work_there
