"""A real HTTP server on loopback that follows a test's script: answers, delays and faults."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support import PATIENCE


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does: waits, then answers, or breaks off.

    Attributes:
        body: The content.
        status: The HTTP status.
        headers: More headers.
        delay: Seconds to wait first.
        until: Then, what to wait for.
        cut: Close the connection after that many bytes of the content; -1 for before the head.
    """

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    until: Callable[[], bool] = lambda: True


def completion(
    text: str | None,
    *,
    input_tokens: int = 10,
    output_tokens: int = 5,
    finish_reason: str = "stop",
    delay: float = 0.0,
    cut: int | None = None,
) -> Reply:
    """A chat completion."""
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }
    return Reply(json.dumps(content).encode(), delay=delay, cut=cut)


def failure(
    status: int, message: str = "scripted", *, retry_after: float | None = None, delay: float = 0.0
) -> Reply:
    """An error as the API writes it."""
    body = json.dumps({"error": {"message": message, "type": "scripted", "code": None}}).encode()
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Reply(body, status, headers, delay)


def in_turn(replies: Sequence[Reply]) -> Callable[[Request], Reply]:
    """Gives the replies one after the other, and the last from then on."""
    rest = list(replies)
    return lambda request: rest.pop(0) if len(rest) > 1 else rest[0]


class ChatServer:
    """The server, in a thread.

    Attributes:
        url: Its base URL.
        requests: What it was asked, in the order of arrival.
        peak: The most requests that it held at the same time.
    """

    def __init__(self, respond: Callable[[Request], Reply], *, serves: Any = None) -> None:
        """Starts nothing yet.

        Args:
            respond: Answers each request, except those for the list of models.
            serves: The entry of that list for every name; None for a server without a list.
        """
        self.requests: list[Request] = []
        self.peak = 0
        self.url = ""
        self.serves = serves
        self._respond = respond
        self._held = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def __enter__(self) -> "ChatServer":
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()
        open_ones = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body)
        if path.endswith("/models"):
            await self._write(writer, self._models())
            return True
        self.requests.append(request)
        self._held += 1
        self.peak = max(self.peak, self._held)
        try:
            reply = self._respond(request)
            await asyncio.sleep(reply.delay)
            while not reply.until():
                await asyncio.sleep(0.01)
        finally:
            self._held -= 1
        if reply.cut == -1:
            return False
        await self._write(writer, reply)
        return reply.cut is None

    def _models(self) -> Reply:
        if self.serves is None:
            return Reply(b"{}", 404)
        return Reply(json.dumps({"object": "list", "data": [self.serves]}).encode())

    async def _write(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        lines = [
            f"HTTP/1.1 {reply.status} Scripted",
            "Content-Type: application/json",
            f"Content-Length: {len(reply.body)}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body[: reply.cut])
        await writer.drain()


class BatchApi:
    """The Batch endpoints, in front of a function that answers single requests.

    Attributes:
        batches: Every batch by id, as the API shows it.
        answered: How often each request was answered, that is paid for.
    """

    def __init__(self, respond: Callable[[Request], Reply], *, polls: int = 1) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.answered: Counter[str] = Counter()
        self.lose_next_answer = False
        self.status = "completed"
        self._respond = respond
        self._polls = polls
        self._files: dict[str, bytes] = {}

    def __call__(self, request: Request) -> Reply:
        path = request.path.removeprefix("/v1").split("?")[0]
        if path == "/files":
            body = request.body
            start = body.index(b"\r\n\r\n", body.index(b'filename="')) + 4
            return self._json(self._file(body[start : body.index(b"\r\n--", start)]))
        if path == "/batches" and request.method == "POST":
            batch = self._start(request.json)
            lost, self.lose_next_answer = self.lose_next_answer, False
            return Reply(cut=-1) if lost else self._json(batch)
        if path == "/batches":
            return self._json(
                {"object": "list", "data": list(self.batches.values()), "has_more": False}
            )
        if path.startswith("/batches/"):
            return self._json(self._look(path.removeprefix("/batches/")))
        if path.startswith("/files/"):
            return Reply(self._files[path.split("/")[2]])
        return failure(404, path)

    def _json(self, content: Any) -> Reply:
        return Reply(json.dumps(content).encode())

    def _file(self, content: bytes) -> dict[str, Any]:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        return {"id": name, "object": "file", "bytes": len(content), "created_at": 0,
                "filename": "f", "purpose": "batch", "status": "processed"}  # fmt: skip

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {
            "id": name, "object": "batch", "created_at": 0, "status": "in_progress",
            "endpoint": body["endpoint"], "completion_window": body["completion_window"],
            "input_file_id": body["input_file_id"], "metadata": body["metadata"],
            "request_counts": {"total": 0, "completed": 0, "failed": 0}, "polls": 0,
        }  # fmt: skip
        return self.batches[name]

    def _look(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        batch["polls"] += 1
        if batch["polls"] > self._polls and batch["status"] == "in_progress":
            good, bad = [], []
            for line in self._files[batch["input_file_id"]].splitlines():
                asked = json.loads(line)
                reply = self._respond(
                    Request("POST", asked["url"], {}, json.dumps(asked["body"]).encode())
                )
                response = {"status_code": reply.status, "body": json.loads(reply.body)}
                result = {"custom_id": asked["custom_id"], "response": response, "error": None}
                (good if reply.status == 200 else bad).append(json.dumps(result).encode())
                self.answered[asked["custom_id"]] += reply.status == 200
            batch["status"] = self.status
            batch["output_file_id"] = self._file(b"\n".join(good))["id"]
            batch["error_file_id"] = self._file(b"\n".join(bad))["id"] if bad else None
            batch["request_counts"]["completed"] = len(good)
        return batch
