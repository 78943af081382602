"""Processes the items that coroutines wait for in batches, in a thread beside the event loop."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

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
        worker = asyncio.create_task(self._take())
        try:
            yield
        finally:
            worker.cancel()

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
            results = await _in_thread(lambda: self._work(items))
        except Exception as error:
            for _, future in chunk:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(chunk, results, strict=True):
            if not future.done():
                future.set_result(result)


async def _in_thread(work: Callable[[], _R]) -> _R:
    """Runs work beside the event loop, in a thread that does not keep the process alive.

    So Ctrl-C works in the middle of a batch. At its end, the process would wait for a thread of
    Python's own pools.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_R] = loop.create_future()
    torch = sys.modules.get("torch")
    device = torch.cuda.current_device() if torch and torch.cuda.is_initialized() else None

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            if torch and device is not None:
                torch.cuda.set_device(device)  # each thread starts at the first
            result = work()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True, name="inference").start()
    return await future
