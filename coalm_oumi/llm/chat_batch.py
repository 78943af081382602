"""Asks a model through OpenAI's Batch API: half the price, and answers within a day."""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType

import openai
from openai.types import Batch

from coalm_oumi.core.jsontext import Json, dumps, loads
from coalm_oumi.llm.chat import Answer, ChatError, Endpoint, clear_error, connect, read_answer

PRICE = 0.5
"""The share of an ordinary request's price."""

MAX_REQUESTS = 50_000
MAX_BYTES = 100_000_000
"""The API takes 200 MB."""

_ENDED = ("completed", "failed", "expired", "cancelled")
_NAME = "coalm_requests"


class BatchError(ChatError):
    """A batch that failed as a whole: nothing of it was answered, or is paid for."""


class BatchClient:
    """A client of one endpoint's Batch API."""

    def __init__(self, endpoint: Endpoint, *, poll_seconds: float) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: Where to ask.
            poll_seconds: How often to look whether a batch is done.

        Raises:
            CoalmError: The key is missing.
        """
        self._endpoint = endpoint
        self._poll_seconds = poll_seconds
        self._api = connect(endpoint)

    async def __aenter__(self) -> "BatchClient":
        """Returns the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes its connections."""
        await self._api.close()

    async def start(self, bodies: Mapping[str, Json], *, ended: Collection[str]) -> str:
        """Starts a batch, or finds the one that the same requests started before.

        So a run that was killed before it could note the batch's id does not pay twice.

        Args:
            bodies: Each request without the model, by its id.
            ended: The batches that were collected already. Where one answered none of its
                requests, the same ones are sent again.

        Returns:
            The batch's id.

        Raises:
            ChatError: The server refuses it.
        """
        lines = "".join(
            dumps(
                {
                    "custom_id": key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": self._endpoint.model, **body},
                }
            )
            + "\n"
            for key, body in bodies.items()
        ).encode("utf-8", "replace")
        name = hashlib.sha256(lines).hexdigest()
        async with _clear_errors(self._endpoint):
            if found := await self._find(name, ended):
                return found
            file = await self._api.files.create(file=("requests.jsonl", lines), purpose="batch")
            for attempt in range(self._endpoint.retries + 1):
                try:
                    # Not tried again unseen: the answer may be lost where the batch is not.
                    batch = await self._api.with_options(max_retries=0).batches.create(
                        input_file_id=file.id,
                        endpoint="/v1/chat/completions",
                        completion_window="24h",
                        metadata={_NAME: name},
                    )
                except (openai.APIConnectionError, openai.InternalServerError):
                    if attempt == self._endpoint.retries:
                        raise
                    await asyncio.sleep(min(2**attempt / 2, 8))
                    if found := await self._find(name, ended):
                        return found
                else:
                    return batch.id
        raise AssertionError("unreachable")

    async def collect(
        self, batch_id: str, progress: Callable[[int], None]
    ) -> Mapping[str, Answer | ChatError]:
        """Waits for a batch's end and fetches what it answered.

        Args:
            batch_id: As `start` returned it.
            progress: Told how many requests are done, whenever the batch was looked at.

        Returns:
            The answer, or what went wrong, of each request that the server says something of.

        Raises:
            BatchError: The batch failed as a whole.
            ChatError: The server does not answer.
        """
        async with _clear_errors(self._endpoint):
            while True:
                batch = await self._api.batches.retrieve(batch_id)
                if batch.request_counts:
                    progress(batch.request_counts.completed)
                if batch.status in _ENDED:
                    break
                await asyncio.sleep(self._poll_seconds)
            if batch.status == "failed":
                raise BatchError(
                    f"{self._endpoint.model}: batch {batch_id} failed: {_faults(batch)}"
                )
            results: dict[str, Answer | ChatError] = {}
            for file in (batch.output_file_id, batch.error_file_id):
                if file:
                    content = await self._api.files.content(file)
                    for line in content.text.splitlines():
                        results |= self._result(line)
            return results

    async def _find(self, name: str, ended: Collection[str]) -> str | None:
        async for batch in self._api.batches.list(limit=100):
            is_same = (batch.metadata or {}).get(_NAME) == name and batch.id not in ended
            if is_same and batch.status in ("validating", "in_progress", "finalizing", "completed"):
                return batch.id
        return None

    def _result(self, line: str) -> dict[str, Answer | ChatError]:
        try:
            record = loads(line)
            key, response = str(record["custom_id"]), record.get("response") or {}
            if response.get("status_code") == 200:
                return {key: read_answer(response["body"], [])}
            fault = record.get("error") or (response.get("body") or {}).get("error")
            return {key: ChatError(f"{self._endpoint.model}: {dumps(fault)}")}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}  # a line cut short; its request counts as not answered


def _faults(batch: Batch) -> str:
    data = (batch.errors and batch.errors.data) or []
    return "; ".join(fault.message or "" for fault in data) or "no reason given"


@asynccontextmanager
async def _clear_errors(endpoint: Endpoint):
    try:
        yield
    except openai.OpenAIError as error:
        raise clear_error(endpoint, error) from None
