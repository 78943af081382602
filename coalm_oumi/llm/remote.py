"""Asks a server through Oumi's remote engines, one question at a time, over bounded exchanges.

Oumi builds, paces and retries the request and reads the answer. The session with which it posts
adds what Oumi 0.9 lacks: limits on a reply's bytes and on pauses, no redirects to other hosts, no
keys in errors, and tolerance for harmless differences from the API's documentation.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from oumi.core.types.conversation import Conversation, Role
from oumi.utils.logging import logger

from coalm_oumi.core import compat
from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.core.usage import Usage
from coalm_oumi.core.wording import one_line
from coalm_oumi.llm import completion, http
from coalm_oumi.llm.completion import ServerSaysError, read_body
from coalm_oumi.llm.failure import Cause, Generated, failed, is_too_long
from coalm_oumi.llm.text import text_of

if TYPE_CHECKING:
    from oumi.inference import RemoteInferenceEngine

_MODELS_SECONDS = 10.0
_STABLE = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""Fields of a server's model list that identify a model; others change with each request.
"""


class RemoteEngine:
    """One of Oumi's remote engines, in one event loop.

    Attributes:
        at_server: The tasks whose request is under way. Their answers may already be charged.
    """

    def __init__(self, engine: "RemoteInferenceEngine") -> None:
        """Connects to nothing yet.

        Args:
            engine: Oumi's.
        """
        self._engine = engine
        self.at_server: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Holds the connections while questions are asked."""
        async with http.new_session() as session:
            self._session = session
            self._semaphore = compat.semaphore_of(self._engine)
            yield

    async def ask(
        self, conversation: Conversation, *, max_new_tokens: int | None = None
    ) -> Generated:
        """Returns the answer, or why there is none after all of Oumi's retries.

        Args:
            conversation: The question.
            max_new_tokens: Overrides the recipe's.
        """
        session = _OumisSession(self._session, self.at_server)
        try:
            answered = await compat.query_remote(
                self._engine, conversation, self._semaphore, session, max_new_tokens
            )
        except _FinalError as error:
            return error.generated
        except ValueError as error:  # Oumi's error for a missing key or address
            return Generated(None, cause=Cause.NO_ACCESS, error=str(error))
        except Exception as error:
            if session.last_failure is not None:
                return session.last_failure
            # Oumi cannot convert the answer, but it was given and is charged.
            cause = Cause.REFUSED if session.was_answered else Cause.UNASKED
            return Generated(None, cause=cause, error=one_line(error))
        finally:
            if task := asyncio.current_task():
                self.at_server.discard(task)
        return answer_of(answered) or Generated(
            None, cause=Cause.REFUSED, error="the reply holds no answer"
        )


def answer_of(conversation: Conversation) -> Generated | None:
    """Returns the answer that ends a conversation; None if the model has not spoken."""
    last = conversation.messages[-1]
    if last.role != Role.ASSISTANT:
        return None
    counted: Mapping[str, int | None] = conversation.metadata.get("usage") or {}
    usage = Usage(counted.get("prompt_tokens") or 0, counted.get("completion_tokens") or 0)
    is_cut = conversation.metadata.get("finish_reason") == "length"
    return Generated(text_of(last), usage, is_cut=is_cut)


class _FinalError(RuntimeError):
    """Ends a request at once: Oumi retries every error except this kind."""

    def __init__(self, generated: Generated) -> None:
        super().__init__(generated.error)
        self.generated = generated


class _OumisSession:
    """The part of aiohttp's session that Oumi's `_query_api` uses, over bounded exchanges.

    It remembers the outcome of one question.
    """

    def __init__(self, session: aiohttp.ClientSession, at_server: set[asyncio.Task[Any]]) -> None:
        self._session = session
        self._at_server = at_server
        self.was_answered = False
        self.last_failure: Generated | None = None

    @asynccontextmanager
    async def post(
        self, url: str, *, json: Json, headers: Mapping[str, str], timeout: float
    ) -> AsyncGenerator["_OumisReply"]:
        task = asyncio.current_task()
        assert task is not None
        self._at_server.add(task)
        self.last_failure = None
        is_answered = False
        try:
            reply = await http.exchange(
                self._session, "POST", url, headers=headers, seconds=timeout, json=json
            )
            is_answered = reply.status == 200
        except TimeoutError:
            raise TimeoutError(f"no whole reply within {timeout:g} s") from None
        finally:
            if not is_answered:  # and nothing is paid for
                self._at_server.discard(task)
        if is_answered:
            yield self._read(reply, json)
        else:
            yield self._failed(http.error_text(reply), reply.status, reply)

    def _read(self, reply: http.Reply, content: Json) -> "_OumisReply":
        """Reads the answer to a request's content."""
        try:
            body = read_body(reply.body)
        except ValueError as error:
            return self._unreadable(str(error))
        is_chat = is_object(body) and "messages" in content
        if not is_chat or not ("choices" in body or http.error_of(body)):
            return self._answered(body)  # the form of another API, which Oumi's engine knows
        try:
            messages = content["messages"]
            found = completion.read(body, messages, tools=content.get("tools"))
            return self._answered(found.as_json())
        except ServerSaysError as error:
            return self._failed(str(error), error.status, None)
        except ValueError as error:
            return self._unreadable(str(error))

    def _answered(self, body: Json) -> "_OumisReply":
        self.was_answered = True
        return _OumisReply(200, body, {})

    def _unreadable(self, reason: str) -> "_OumisReply":
        # Asking again would cost the same, and usually give the same result.
        error = f"the reply is not a chat completion: {reason}"
        raise _FinalError(Generated(None, cause=Cause.REFUSED, error=error))

    def _failed(self, message: str, status: int, reply: http.Reply | None) -> "_OumisReply":
        self.last_failure = failed(message, status)
        if (reply and reply.final) or is_too_long(message, status):
            raise _FinalError(self.last_failure)
        pause = reply.retry_after if reply else None
        headers = {} if pause is None else {"Retry-After": str(pause)}
        return _OumisReply(status, {"error": {"message": message}}, headers)


class _OumisReply:
    """The part of aiohttp's response that Oumi's `_query_api` uses."""

    content_type = "application/json"

    def __init__(self, status: int, body: Json, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def json(self) -> Json:
        return self._body

    async def text(self) -> str:
        return json.dumps(self._body)


async def served_model(engine: "RemoteInferenceEngine", name: str) -> Json:
    """Returns what a server says about the model that it serves under a name.

    Args:
        engine: Oumi's.
        name: The model's name in requests.

    Returns:
        The stable fields of its entry in `/v1/models` (vLLM's `root` names the weights, llama.cpp's
        `meta` their size); None if the server has no such list or entry.

    Raises:
        ConnectionError: The server cannot be reached.
    """
    url, headers = compat.models_request(engine)
    if urlsplit(url).scheme not in ("http", "https"):
        return None
    try:
        async with http.new_session() as session:
            reply = await http.exchange(
                session, "GET", url, headers=headers, seconds=_MODELS_SECONDS
            )
    except aiohttp.ClientConnectorError as error:
        raise ConnectionError(f"{http.public_url(url)}: {error}") from error
    except (TimeoutError, aiohttp.ClientError):
        return None  # it may still answer questions
    if reply.status != 200:
        logger.info(
            f"{http.public_url(url)} does not list what it serves (status {reply.status}): the "
            f"recorded answers of {name} are told apart by its name alone"
        )
        return None
    try:
        content = read_body(reply.body)
    except ValueError:
        return None
    entries = content.get("data") if is_object(content) else None
    for entry in entries if is_list(entries) else []:
        if is_object(entry) and entry.get("id") == name:
            return {field: entry[field] for field in _STABLE if entry.get(field) is not None}
    return None
