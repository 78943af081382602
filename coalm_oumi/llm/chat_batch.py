"""Asks a model through OpenAI's Batch API: half the price, and answers within a day."""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping

import aiohttp

from coalm_oumi.core.jsontext import Json, dumps, is_list, is_object
from coalm_oumi.llm.chat import (
    Answer,
    ChatError,
    ConnectionLostError,
    Endpoint,
    Server,
    read_answer,
)

PRICE = 0.5
"""The share of an ordinary request's price."""

MAX_REQUESTS = 50_000
MAX_BYTES = 100_000_000
"""The API takes 200 MB."""

_MAX_RESULT_BYTES = 2 << 30
"""The results of 50,000 requests may come as one file."""

_PAGES = 100
"""The most pages of the list of batches to read."""

_ENDED = ("completed", "failed", "expired", "cancelled")
_NAME = "coalm_requests"
_API = "/v1/chat/completions"


class BatchError(ChatError):
    """A batch that failed as a whole: none of it was answered or is charged."""


class BatchClient:
    """A client of one endpoint's Batch API."""

    def __init__(self, endpoint: Endpoint, *, poll_seconds: float) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: Where to ask.
            poll_seconds: Seconds between two checks of a batch.

        Raises:
            CoalmError: The key is missing.
        """
        self._endpoint = endpoint
        self._poll_seconds = poll_seconds
        self._server = Server(endpoint)

    async def __aenter__(self) -> "BatchClient":
        """Returns the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes its connections."""
        await self._server.close()

    async def start(
        self, bodies: Mapping[str, Mapping[str, Json]], *, ended: Collection[str]
    ) -> str:
        """Starts a batch, or finds one that was started with the same requests.

        So a run that was killed before it could record the batch's id does not pay twice.

        Args:
            bodies: Each request without the model, by its id.
            ended: The batches that were collected already. If one answered none of its requests,
                they are sent again.

        Returns:
            The batch's id.

        Raises:
            ChatError: The server refuses it.
        """
        lines = self._requests(bodies)
        name = hashlib.sha256(lines).hexdigest()
        if found := await self._find(name, ended):
            return found
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", lines, filename="requests.jsonl", content_type="application/jsonl")
        file = await self._server.request("/files", data=form, retries=0)
        content = {
            "input_file_id": self._field(file, "id"),
            "endpoint": _API,
            "completion_window": "24h",
            "metadata": {_NAME: name},
        }
        for attempt in range(self._endpoint.retries + 1):
            try:
                # No blind retries: a batch may exist even if the reply to its start was lost.
                batch = await self._server.request("/batches", json=content, retries=0)
            except ConnectionLostError:
                if attempt == self._endpoint.retries:
                    raise
                await asyncio.sleep(min(2**attempt / 2, 8))
                if found := await self._find(name, ended):
                    return found
            else:
                return self._field(batch, "id")
        raise AssertionError("unreachable")

    async def collect(
        self, batch_id: str, progress: Callable[[int], None]
    ) -> Mapping[str, Answer | ChatError]:
        """Waits until a batch ends and fetches its answers.

        Args:
            batch_id: The id that `start` returned.
            progress: Called after each check with the number of finished requests.

        Returns:
            The answer or error of each request that the server lists.

        Raises:
            BatchError: The batch failed as a whole.
            ChatError: The server does not answer.
        """
        while True:
            batch = await self._server.request(f"/batches/{batch_id}", method="GET")
            status = self._field(batch, "status")
            counts = batch.get("request_counts")
            completed = counts.get("completed") if is_object(counts) else None
            if isinstance(completed, int):
                progress(completed)
            if status in _ENDED:
                break
            await asyncio.sleep(self._poll_seconds)
        if status == "failed":
            raise BatchError(f"{self._endpoint.model}: batch {batch_id} failed: {_faults(batch)}")
        results: dict[str, Answer | ChatError] = {}
        for name in ("output_file_id", "error_file_id"):
            if batch.get(name):
                path = f"/files/{self._field(batch, name)}/content"
                file = await self._server.fetch(path, method="GET", max_bytes=_MAX_RESULT_BYTES)
                for line in file.text.split("\n"):
                    results |= self._result(line)
        return results

    def _requests(self, bodies: Mapping[str, Mapping[str, Json]]) -> bytes:
        """Writes the file of a batch, one request per line."""
        lines: list[str] = []
        for key, body in bodies.items():
            request = {"model": self._endpoint.model, **body}
            line = {"custom_id": key, "method": "POST", "url": _API, "body": request}
            lines.append(f"{dumps(line)}\n")
        return "".join(lines).encode("utf-8", "replace")

    async def _find(self, name: str, ended: Collection[str]) -> str | None:
        after = ""
        for _ in range(_PAGES):
            page = await self._server.request(f"/batches?limit=100{after}", method="GET")
            found = page.get("data") if is_object(page) else None
            batches = list(filter(is_object, found)) if is_list(found) else []
            for batch in batches:
                marks = batch.get("metadata")
                is_same = is_object(marks) and marks.get(_NAME) == name
                states = ("validating", "in_progress", "finalizing", "completed")
                if is_same and batch.get("id") not in ended and batch.get("status") in states:
                    return self._field(batch, "id")
            if not batches or not page.get("has_more"):
                return None
            after = f"&after={self._field(batches[-1], 'id')}"
        return None

    def _field(self, content: Json, name: str) -> str:
        """Returns a name from a server's reply if it is safe as a part of an address."""
        value = content.get(name) if is_object(content) else None
        if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]{1,200}", value):
            raise self._server.error(f"the reply has no usable `{name}`")
        return value

    def _result(self, line: str) -> dict[str, Answer | ChatError]:
        try:
            record = json.loads(line)
            key = str(record["custom_id"])
            response: Mapping[str, Json] = record.get("response") or {}
            if response.get("status_code") == 200:
                return {key: read_answer(response["body"], [])}
            body: Mapping[str, Json] = response.get("body") or {}
            fault = record.get("error") or body.get("error")
            return {key: ChatError(f"{self._endpoint.model}: {dumps(fault)}")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # a line cut short; its request counts as not answered


def _faults(batch: Json) -> str:
    errors = batch.get("errors")
    found = errors.get("data") if is_object(errors) else None
    faults: list[Json] = found if is_list(found) else []
    texts = [str(fault.get("message") or "") for fault in faults if is_object(fault)]
    return " ".join("; ".join(texts).split()) or "no reason given"
