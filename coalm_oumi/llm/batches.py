"""Asks an engine in this process: what waits at a time is one batch."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from oumi.core.types.conversation import Conversation

from coalm_oumi.llm.failure import Generated, failed_in_engine
from coalm_oumi.llm.remote import answer_of

if TYPE_CHECKING:
    from oumi.core.inference import BaseInferenceEngine
    from oumi.core.inference.base_inference_engine import InferenceResult

_R = TypeVar("_R")

_SETTLING_SECONDS = 0.02
"""A batch begins once no question has come for so long; one batch takes much longer."""


class BatchEngine:
    """One of Oumi's engines that answers a batch as a whole, in one event loop.

    Attributes:
        at_server: Empty: no answer of this engine is paid for.
    """

    def __init__(self, engine: "BaseInferenceEngine", size: int | None) -> None:
        """Starts nothing yet.

        Args:
            engine: Oumi's.
            size: The most questions of a batch; None for an engine that schedules them itself.
        """
        self._engine = engine
        self._size = size
        self._waiting: list[tuple[Conversation, asyncio.Future[Generated]]] = []
        self.at_server: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answers batches while questions are asked."""
        self._wake = asyncio.Event()
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()

    async def ask(self, conversation: Conversation) -> Generated:
        """Returns the answer, with the batch that the question becomes part of."""
        future: asyncio.Future[Generated] = asyncio.get_running_loop().create_future()
        self._waiting.append((conversation, future))
        self._wake.set()
        return await future

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            count = 0
            while count != len(self._waiting):  # others are on their way to ask
                count = len(self._waiting)
                await asyncio.sleep(_SETTLING_SECONDS)
            while self._waiting:
                # The native engine pads each batch to its longest prompt; with the longest first,
                # memory runs out at once or never.
                waiting = [pair for pair in self._waiting if not pair[1].done()]
                waiting.sort(key=lambda pair: _length(pair[0]), reverse=True)
                size = self._size or len(waiting)
                chunk, self._waiting = waiting[:size], waiting[size:]
                await self._answer(chunk)

    async def _answer(
        self, chunk: Sequence[tuple[Conversation, asyncio.Future[Generated]]]
    ) -> None:
        conversations = [conversation for conversation, _ in chunk]
        try:
            answers = await _in_thread(lambda: generate(self._engine, conversations))
        except Exception as error:
            for _, future in chunk:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(chunk, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def generate(
    engine: "BaseInferenceEngine", conversations: Sequence[Conversation]
) -> list[Generated]:
    """Asks one of Oumi's inference engines, all at once.

    An engine that answers a batch as a whole also fails as a whole: then each half is asked alone,
    so that one question that breaks it (too long for the model) does not break the others.
    """
    result = engine.infer_partial(list(conversations))
    answers = [failed_in_engine(result.failures.get(n)) for n in range(len(conversations))]
    for index, conversation in result.successful:
        answers[index] = answer_of(conversation) or answers[index]
    if len(conversations) > 1 and _failed_whole(result):
        half = len(conversations) // 2
        return [
            *generate(engine, conversations[:half]),
            *generate(engine, conversations[half:]),
        ]
    return answers


def _failed_whole(result: "InferenceResult") -> bool:
    from oumi.core.inference.base_inference_engine import InferenceErrorType

    broke = InferenceErrorType.ENGINE_FAILURE
    return not result.successful and all(d.error_type is broke for d in result.failures.values())


def _length(conversation: Conversation) -> int:
    return sum(len(str(message.content)) for message in conversation.messages)


async def _in_thread(work: Callable[[], _R]) -> _R:
    """Runs work beside the event loop, in a thread that does not keep the process alive.

    So Ctrl-C is heard in the middle of a batch. A thread of Python's own pools would be waited for
    at the end of the process.
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
