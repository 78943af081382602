"""Asks an engine in this process, in batches of all questions that are waiting."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from oumi.core.types.conversation import Conversation

from coalm_oumi.llm.failure import Generated, failed_in_engine
from coalm_oumi.llm.remote import answer_of
from coalm_oumi.llm.waiting import Batches

if TYPE_CHECKING:
    from oumi.core.inference import BaseInferenceEngine
    from oumi.core.inference.base_inference_engine import InferenceResult


class BatchEngine:
    """One of Oumi's engines that answers a batch as a whole, in one event loop.

    Attributes:
        at_server: Always empty, because no answer of this engine is paid for.
    """

    def __init__(self, engine: "BaseInferenceEngine", size: int | None) -> None:
        """Starts nothing yet.

        Args:
            engine: Oumi's.
            size: The most questions of a batch; None for an engine that schedules them itself.
        """
        # The native engine pads each batch to its longest prompt. If the longest come first,
        # memory runs out at once or never.
        self._batches: Batches[Conversation, Generated] = Batches(
            lambda conversations: generate(engine, conversations), size=size, weight=_length
        )
        self.at_server: set[asyncio.Task[Any]] = set()

    def open(self) -> AbstractAsyncContextManager[None]:
        """Answers batches while questions are asked."""
        return self._batches.open()

    async def ask(self, conversation: Conversation) -> Generated:
        """Returns the answer, once the question's batch is done."""
        return await self._batches.get(conversation)


def generate(
    engine: "BaseInferenceEngine", conversations: Sequence[Conversation]
) -> list[Generated]:
    """Asks one of Oumi's inference engines all questions at once.

    If a batch fails, each half is asked separately, so that a question that breaks the engine, such
    as one too long for the model, does not break the others.
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
    # Not at the top, since Oumi loads this module during its own imports.
    from oumi.core.inference.base_inference_engine import InferenceErrorType

    broke = InferenceErrorType.ENGINE_FAILURE
    return not result.successful and all(d.error_type is broke for d in result.failures.values())


def _length(conversation: Conversation) -> int:
    return sum(len(str(message.content)) for message in conversation.messages)
