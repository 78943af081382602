"""Asks a model behind an OpenAI-compatible server: GPT-4o, vLLM, llama.cpp, any base URL.

Requests run side by side up to a bound, failures are retried with back-off, and tokens and cost are
counted against a budget that is never overrun.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import openai

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, loads
from coalm_oumi.core.usage import Usage

_TEMPLATE = 64
"""Tokens that a chat template may add; a generous bound."""


class ChatError(CoalmError):
    """A request that got no answer. The message never holds the key."""


class BudgetError(ChatError):
    """The next request could cost more than is left, so it was not sent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model on a server, and how to ask it.

    Attributes:
        model: The model's name on the server.
        base_url: The server, such as `http://127.0.0.1:8000/v1`; OpenAI's, if not given.
        api_key_env: The environment variable that holds the key. Servers other than OpenAI's are
            asked without one where it is not set.
        concurrency: How many requests run at the same time, at most.
        timeout: Seconds until a request is given up, and tried again.
        retries: How often a request is tried again after 429, 5xx, a timeout or a broken
            connection, each time later, or when the server's Retry-After says so.
        usd_per_million_input: The price of a million prompt tokens, in US dollars.
        usd_per_million_output: The price of a million generated tokens, in US dollars.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 6
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None

    def __post_init__(self) -> None:
        """Refuses what no server can be asked with."""
        if not self.model.strip():
            raise CoalmError("the model's name is empty")
        if self.concurrency < 1 or self.timeout <= 0 or self.retries < 0:
            raise CoalmError(
                f"model {self.model}: concurrency and timeout must be positive, retries at least 0"
            )
        url = urlsplit(self.base_url or "https://")
        if url.scheme not in ("http", "https") or (self.base_url and not url.hostname):
            raise CoalmError(
                f"base URL {self.base_url}: expected http://HOST/v1 or https://HOST/v1"
            )
        if url.username or url.password or url.query:
            raise CoalmError(
                f"base URL of {url.hostname}: holds a user, password or query; put the key into "
                f"the environment variable {self.api_key_env}"
            )

    def usd(self, usage: "Usage") -> float | None:
        """Returns the price of some tokens in US dollars, None where a price is not given."""
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: The answer; empty where the model refused.
        usage: Its tokens, as the server counts them.
        finish_reason: `stop`, or why it ended otherwise: `length` says that the text is cut off.
    """

    text: str
    usage: Usage
    finish_reason: str = "stop"


class ChatClient:
    """A client of one endpoint. To be used in one event loop, and closed.

    Example:
        >>> async with ChatClient(Endpoint("gpt-4o"), max_usd=5) as client:
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
            endpoint: Where to ask.
            max_usd: Stop before more than this is spent; None for no limit.
            used: What earlier runs used of the same budget.

        Raises:
            CoalmError: The key is missing, or there is a budget and no price.
        """
        self.endpoint = endpoint
        self.used = used or Usage()
        self._max_usd = max_usd
        if max_usd is not None and endpoint.usd(self.used) is None:
            endpoint.most_usd([], max_tokens=1)  # says what is missing
        self._reserved: list[float] = []
        self._settled = asyncio.Condition()
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._api = connect(endpoint)

    @property
    def usd(self) -> float | None:
        """What all tokens so far cost in US dollars, None where the prices are not given."""
        return self.endpoint.usd(self.used)

    async def __aenter__(self) -> "ChatClient":
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
            try:
                # As text: servers differ in what they add, and not all send what they should.
                text = await self._api.post(
                    "/chat/completions", cast_to=str, body=body, options={"headers": headers}
                )
                answer = read_answer(loads(text), messages)
            except (openai.OpenAIError, ValueError) as error:
                raise clear_error(self.endpoint, error) from None  # its request carries the key
            self.used += answer.usage
            return answer

    @asynccontextmanager
    async def _reservation(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> AsyncIterator[None]:
        """Holds what the request may cost at most until it is known what it did cost."""
        if self._max_usd is None:
            yield
            return
        most = self.endpoint.most_usd(messages, **sampling)
        async with self._settled:
            # What others hold is released in part when their answers come.
            while self._reserved and self._spent() + sum(self._reserved) + most > self._max_usd:
                await self._settled.wait()
            if self._spent() + most > self._max_usd:
                raise BudgetError(
                    f"stopped at ${self._spent():.4f} of ${self._max_usd:g}: the next request to "
                    f"{self.endpoint.model} may cost ${most:.4f}"
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


def connect(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """Returns a client of OpenAI's own for an endpoint, with its key.

    Raises:
        CoalmError: The key is missing.
    """
    if endpoint.base_url is None and not _key(endpoint):
        raise CoalmError(
            f"{endpoint.model} at OpenAI: the environment variable {endpoint.api_key_env} is not "
            "set; put the key there, or give the base URL of another server"
        )
    return openai.AsyncOpenAI(
        api_key=_key(endpoint) or "none",
        base_url=endpoint.base_url,
        timeout=endpoint.timeout,
        max_retries=endpoint.retries,
    )


def clear_error(endpoint: Endpoint, error: Exception) -> ChatError:
    """Says what went wrong on one line, without the key.

    Args:
        endpoint: Who was asked.
        error: What the client raised. Raise the result `from None`: its request carries the key.
    """
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, openai.AuthenticationError):
        message += f"; is the environment variable {endpoint.api_key_env} right?"
    elif isinstance(error, openai.APIConnectionError):
        message += f" Is the server up, and are {endpoint.timeout:g} s enough for it?"
    elif isinstance(error, ValueError):
        message = f"the answer is not a chat completion: {message}"
    key = _key(endpoint)
    return ChatError(
        f"{endpoint.model} at {endpoint.base_url or 'OpenAI'}: "
        + (message.replace(key, "***") if key else message)
    )


def _key(endpoint: Endpoint) -> str:
    return os.environ.get(endpoint.api_key_env, "").strip()


def read_answer(completion: Json, messages: Sequence[Mapping[str, Any]]) -> Answer:
    """Reads a chat completion, as the API's JSON has it.

    Args:
        completion: The response.
        messages: What it answers. Where a server counts no tokens, they are bounded by bytes.

    Raises:
        ValueError: It is not one.
    """
    try:
        choice = completion["choices"][0]
        text = choice["message"].get("content") or ""
        # Half a surrogate pair, as JSON can hold, can be written nowhere.
        text = text.encode("utf-8", "replace").decode("utf-8")
        finish_reason = choice.get("finish_reason") or "stop"
        counted = completion.get("usage") or {
            "prompt_tokens": most_tokens(messages),
            "completion_tokens": len(text.encode("utf-8")),
        }
        usage = Usage(int(counted["prompt_tokens"]), int(counted["completion_tokens"]))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error
    return Answer(text, usage, finish_reason)


def most_tokens(messages: Sequence[Mapping[str, Any]], **more: Json) -> int:
    """Returns a bound of a prompt's tokens: no tokenizer makes more than one of a byte of JSON."""
    return len(dumps([*messages, more]).encode("utf-8", "replace")) + _TEMPLATE
