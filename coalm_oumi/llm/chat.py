"""Asks a model behind an OpenAI-compatible server: GPT-4o, vLLM, llama.cpp, any base URL.

Requests run concurrently up to a limit, failures are retried with back-off, and tokens and cost are
counted against a budget that is never exceeded.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveInt, field_validator, with_config
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options, Text
from coalm_oumi.core.usage import Usage
from coalm_oumi.llm import completion, http
from coalm_oumi.llm.completion import ServerSaysError, most_tokens, read_body

_OPENAI = "https://api.openai.com/v1"

_LONGEST_PAUSE = 8.0
"""Seconds between two tries of a request, unless the server asks for more."""


class ChatError(CoalmError):
    """A request that got no answer. The message never holds the key."""


class ConnectionLostError(ChatError):
    """A request that the server may or may not have carried out."""


class BudgetError(ChatError):
    """The next request could cost more than is left, so it was not sent."""


class Endpoint(Options):
    """A model on a server, and how to ask it, as a recipe says it.

    Attributes:
        model: The model's name on the server.
        base_url: The server, such as `http://127.0.0.1:8000/v1`. OpenAI's if not given.
        api_key_env: The environment variable that holds the key. If it is not set, servers other
            than OpenAI's are asked without a key.
        concurrency: The most concurrent requests.
        timeout: The most seconds from a request to the last byte of its reply.
        retries: How often a request is repeated after 429, 5xx, a timeout or a broken connection,
            after growing pauses or the server's Retry-After.
        usd_per_million_input: The price of a million prompt tokens, in US dollars.
        usd_per_million_output: The price of a million generated tokens, in US dollars.
    """

    model: Text
    base_url: str | None = None
    api_key_env: Text = "OPENAI_API_KEY"
    concurrency: int = Field(default=16, ge=1, le=10_000)
    timeout: float = Field(default=120.0, gt=0)
    retries: int = Field(default=6, ge=0)
    usd_per_million_input: NonNegativeFloat | None = None
    usd_per_million_output: NonNegativeFloat | None = None

    @field_validator("base_url")
    @classmethod
    def _is_plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)  # which raises a ValueError for a broken IPv6 address
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("expected http://HOST/v1 or https://HOST/v1")  # it may hold a key
        if url.username or url.password or url.query:
            raise ValueError(
                f"the address of {url.hostname} holds a user, password or query; put the key into "
                "the environment variable that api_key_env names"
            )
        return value

    def usd(self, usage: "Usage") -> float | None:
        """Returns the price of some tokens in US dollars, or None if a price is not given."""
        if self.usd_per_million_input is None or self.usd_per_million_output is None:
            return None
        return (
            usage.input_tokens * self.usd_per_million_input
            + usage.output_tokens * self.usd_per_million_output
        ) / 1e6

    def most_usd(self, messages: Sequence[Mapping[str, Any]], **sampling: Any) -> float:
        """Returns what a request may cost at most.

        Raises:
            CoalmError: The prices or the limit of the answer's tokens are not given.
        """
        limit = sampling.get("max_completion_tokens") or sampling.get("max_tokens")
        if limit is None:
            raise CoalmError(
                f"a budget for {self.model} needs max_tokens: without it an answer may cost "
                "anything"
            )
        usd = self.usd(Usage(most_tokens(messages, **sampling), limit))
        if usd is None:
            raise CoalmError(
                f"a budget for {self.model} needs its prices per million input and output tokens"
            )
        return usd


@with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))
class Sampling(TypedDict, total=False):
    """Parameters of the chat completions API. A server may know more, such as vLLM's `top_k`.

    Attributes:
        temperature: From 0 up.
        top_p: In (0, 1].
        seed: Any whole number.
        max_tokens: The most tokens of an answer. A budget needs it, or the next one.
        max_completion_tokens: Its name for OpenAI's models that reason.
    """

    temperature: NonNegativeFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    seed: int
    max_tokens: PositiveInt
    max_completion_tokens: PositiveInt


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model.

    Attributes:
        text: The answer; empty if the model refused.
        usage: Its tokens, as the server counts them.
        finish_reason: `stop`, or another reason: `length` means that the text is cut off.
    """

    text: str
    usage: Usage
    finish_reason: str = "stop"


class ChatClient:
    """A client of one endpoint. Use it in one event loop, and close it.

    Example:
        >>> async with ChatClient(Endpoint(model="gpt-4o"), max_usd=5) as client:
        ...     answer = await client.complete([{"role": "user", "content": "Hello!"}])

    Attributes:
        endpoint: Where it asks.
        used: All tokens so far.
    """

    def __init__(
        self, endpoint: Endpoint, *, max_usd: float | None = None, used: Usage | None = None
    ) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: The endpoint.
            max_usd: The budget in US dollars; None for no limit.
            used: The tokens that earlier runs used of the same budget.

        Raises:
            CoalmError: The key is missing, or there is a budget but no price.
        """
        self.endpoint = endpoint
        self.used = used or Usage()
        self._max_usd = max_usd
        if max_usd is not None and endpoint.usd(self.used) is None:
            endpoint.most_usd([], max_tokens=1)  # says what is missing
        self._reserved: list[float] = []
        self._settled = asyncio.Condition()
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._server = Server(endpoint)

    @property
    def usd(self) -> float | None:
        """The cost of all tokens so far in US dollars; None if the prices are not given."""
        return self.endpoint.usd(self.used)

    async def __aenter__(self) -> "ChatClient":
        """Returns the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes its connections."""
        await self._server.close()

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        request_id: str | None = None,
        **sampling: Any,
    ) -> Answer:
        """Asks for one answer, waiting for a free slot first.

        Args:
            messages: The chat, each message with `role` and `content`.
            request_id: Names the request in the server's log.
            **sampling: Parameters of the chat completions API, such as `temperature`, `seed` and
                `max_tokens`.

        Raises:
            BudgetError: The request could cost more than is left.
            ChatError: The server refuses it, or still fails after all retries.
        """
        headers = {"X-Client-Request-Id": request_id} if request_id else {}
        body = {"model": self.endpoint.model, "messages": list(messages), **sampling}
        async with self._slots, self._reservation(messages, sampling):
            content = await self._server.request("/chat/completions", json=body, headers=headers)
            try:
                answer = read_answer(content, messages)
            except ValueError as error:
                raise self._server.error(f"the answer is not a chat completion: {error}") from None
            self.used += answer.usage
            return answer

    @asynccontextmanager
    async def _reservation(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> AsyncGenerator[None]:
        """Reserves the most that a request may cost, until its cost is known."""
        if self._max_usd is None:
            yield
            return
        most = self.endpoint.most_usd(messages, **sampling)
        async with self._settled:
            # Other requests release a part of their reservations when their answers arrive.
            while self._reserved and self._spent() + sum(self._reserved) + most > self._max_usd:
                await self._settled.wait()
            if self._spent() + most > self._max_usd:
                raise BudgetError(
                    f"stopped at ${self._spent():.4f} of ${self._max_usd:g}: the next request to "
                    f"{self.endpoint.model} may cost ${most:.4f}; raise the budget to go on"
                )
            self._reserved.append(most)
        try:
            yield
        finally:
            async with self._settled:
                self._reserved.remove(most)
                self._settled.notify_all()

    def _spent(self) -> float:
        return self.usd or 0.0


class Server:
    """The HTTP side of an endpoint: key, retries and limits. Use it in one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects to nothing yet.

        Raises:
            CoalmError: The key is missing.
        """
        self._endpoint = endpoint
        self._key = os.environ.get(endpoint.api_key_env, "").strip()
        if endpoint.base_url is None and not self._key:
            raise CoalmError(
                f"{endpoint.model} at OpenAI: the environment variable {endpoint.api_key_env} is "
                "not set; put the key there, or give the base URL of another server"
            )
        self._url = (endpoint.base_url or _OPENAI).rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes its connections."""
        if self._session:
            await self._session.close()

    async def request(self, path: str, **how: Any) -> Json:
        """Returns the JSON of a reply. The arguments and other errors are those of `fetch`.

        Raises:
            ChatError: The reply is not JSON.
        """
        reply = await self.fetch(path, **how)
        try:
            return read_body(reply.body)
        except ValueError as error:
            raise self.error(f"the answer is not a chat completion: {error}") from None

    async def fetch(
        self,
        path: str,
        *,
        method: str = "POST",
        retries: int | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        **content: Any,
    ) -> http.Reply:
        """Sends a request until it is answered, or the retries are used up.

        Args:
            path: The path after the base URL.
            method: `GET` or `POST`.
            retries: Overrides the endpoint's.
            headers: Further headers, besides the key's.
            max_bytes: Overrides the limit of the reply.
            **content: `json` or `data`, as aiohttp takes them.

        Raises:
            ConnectionLostError: No reply, or an error of the server, after all retries.
            ChatError: The server refuses it.
        """
        if self._session is None:
            self._session = http.new_session()
        url, seconds = self._url + path, self._endpoint.timeout
        tries = 1 + (self._endpoint.retries if retries is None else retries)
        sent = {**(headers or {}), "Authorization": f"Bearer {self._key or 'none'}"}
        failure: ChatError = ConnectionLostError("not asked")
        for attempt in range(tries):
            pause = min(0.5 * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.75, 1.0)
            try:
                reply = await http.exchange(
                    self._session, method, url,
                    headers=sent, seconds=seconds, max_bytes=max_bytes, **content,
                )  # fmt: skip
            except (TimeoutError, aiohttp.ClientError) as error:
                reason = str(error) or "no whole reply"
                hint = f"Is the server up, and are {seconds:g} s enough for it?"
                failure = ConnectionLostError(self._line(f"{reason}. {hint}"))
            else:
                if reply.status == 200:
                    return reply
                failure = self._refused(reply)
                if reply.final or not _may_pass(reply.status):
                    raise failure
                if reply.retry_after is not None:
                    pause = reply.retry_after
            if attempt + 1 < tries:
                await asyncio.sleep(pause)
        raise failure

    def error(self, message: str) -> ChatError:
        """Returns an error on one line, without the key."""
        return ChatError(self._line(message))

    def _line(self, message: str) -> str:
        text = f"{self._endpoint.model} at {self._endpoint.base_url or 'OpenAI'}: {message}"
        return " ".join(http.masked(text, [self._key] if self._key else []).split())

    def _refused(self, reply: http.Reply) -> ChatError:
        message = f"Error code: {reply.status} - {http.error_text(reply)}"
        if reply.status == 401:
            message += f"; is the environment variable {self._endpoint.api_key_env} right?"
        kind = ConnectionLostError if reply.status >= 500 else ChatError
        return kind(self._line(message))


def _may_pass(status: int) -> bool:
    """Returns True if the same request may be answered later."""
    return status in (408, 409, 425, 429) or status >= 500


def read_answer(content: Json, messages: Sequence[Mapping[str, Any]]) -> Answer:
    """Reads a chat completion from the API's JSON.

    Args:
        content: The response.
        messages: The request's messages. If the server counts no tokens, their bytes bound the
            number.

    Raises:
        ValueError: It is not a chat completion.
    """
    try:
        found = completion.read(content, messages)
    except ServerSaysError as error:
        raise ValueError(f"the server says: {error}") from error
    # Half a surrogate pair, which JSON can hold, cannot be encoded in UTF-8.
    text = found.text.encode("utf-8", "replace").decode("utf-8")
    return Answer(text, found.usage, found.finish_reason)
