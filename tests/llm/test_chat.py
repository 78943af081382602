import asyncio
import logging
import time
import traceback

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.llm.chat import Answer, BudgetError, ChatClient, ChatError, Endpoint, most_tokens
from tests.support.chat_server import ChatServer, Reply, completion, failure, in_turn

HELLO = [{"role": "user", "content": "Hello!"}]
PRICES = {"usd_per_million_input": 1_000_000.0, "usd_per_million_output": 1_000_000.0}


def ask(endpoint: Endpoint, times: int = 1, **sampling) -> list[Answer]:
    async def all_at_once() -> list[Answer]:
        async with ChatClient(endpoint) as client:
            return await asyncio.gather(*(client.complete(HELLO, **sampling) for _ in range(times)))

    return asyncio.run(all_at_once())


def test_an_answer_with_its_usage():
    with ChatServer(lambda _: completion("Hi.", finish_reason="length")) as server:
        answers = ask(
            Endpoint(model="m", base_url=server.url),
            temperature=0.5,
            max_tokens=7,
            request_id="r-1",
        )
    assert answers == [Answer("Hi.", Usage(10, 5), "length")]
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["x-client-request-id"] == "r-1"
    assert request.json == {
        "model": "m",
        "messages": HELLO,
        "temperature": 0.5,
        "max_tokens": 7,
    }


def test_the_bound_of_concurrency_is_reached_and_kept():
    with ChatServer(lambda _: completion("Hi.", delay=0.1)) as server:
        ask(Endpoint(model="m", base_url=server.url, concurrency=8), times=40)
    assert server.peak == 8
    assert len(server.requests) == 40


@pytest.mark.parametrize(
    "fault",
    [
        failure(429),
        failure(500),
        failure(503),
        completion("too late", delay=3),
        completion("cut", cut=-1),
        completion("cut", cut=0),
        completion("cut", cut=40),
    ],
    ids=["429", "500", "503", "timeout", "no head", "no body", "cut body"],
)
def test_a_fault_that_may_pass_is_tried_again(fault: Reply):
    with ChatServer(in_turn([fault, completion("Hi.")])) as server:
        assert (
            ask(Endpoint(model="m", base_url=server.url, timeout=0.5, retries=1))[0].text == "Hi."
        )
    assert len(server.requests) == 2


def test_retry_after_is_kept():
    with ChatServer(in_turn([failure(429, retry_after=1.2), completion("Hi.")])) as server:
        start = time.monotonic()
        ask(Endpoint(model="m", base_url=server.url))
        assert time.monotonic() - start >= 1.2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (failure(400, "no such parameter"), "no such parameter"),
        (failure(500, "burning"), "burning"),
        (completion("cut", cut=-1), "Is the server up"),
        (Reply(b'{"choices": ['), "not a chat completion"),
        (Reply(b"[]"), "not a chat completion"),
        (Reply(b'{"choices": []}'), "not a chat completion"),
        (Reply(b'{"choices": [{"message": null}]}'), "not a chat completion"),
    ],
)
def test_a_lasting_fault_is_one_clear_error(reply: Reply, message: str):
    with ChatServer(lambda _: reply) as server, pytest.raises(ChatError, match=message) as caught:
        ask(Endpoint(model="m", base_url=server.url, retries=0))
    assert "\n" not in str(caught.value)


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    reply = failure(401, "Incorrect API key provided: sk-very-secret")
    with ChatServer(lambda _: reply) as server, pytest.raises(ChatError) as caught:
        ask(Endpoint(model="m", base_url=server.url, api_key_env="THE_KEY"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "THE_KEY" in str(caught.value)
    trace = "".join(traceback.format_exception(caught.value))
    assert "sk-very-secret" not in trace + caplog.text


def test_what_no_server_can_be_asked_with(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CoalmError, match="OPENAI_API_KEY is not set"):
        ChatClient(Endpoint(model="gpt-4o"))
    with pytest.raises(CoalmError, match="put the key into the environment") as caught:
        Endpoint.read({"model": "m", "base_url": "http://me:secret@127.0.0.1/v1"}, where="endpoint")
    assert "secret" not in str(caught.value)
    for url in ("127.0.0.1:8000/v1", "http://[1/v1", ""):
        with pytest.raises(CoalmError, match="endpoint: base_url: "):
            Endpoint.read({"model": "m", "base_url": url}, where="endpoint")
    with pytest.raises(CoalmError, match="needs its prices"):
        ChatClient(Endpoint(model="m", base_url="http://127.0.0.1/v1"), max_usd=1)


def spend(endpoint: Endpoint, max_usd: float, times: int, used: Usage | None = None):
    async def all_at_once():
        async with ChatClient(endpoint, max_usd=max_usd, used=used) as client:
            results = await asyncio.gather(
                *(client.complete(HELLO, max_tokens=20) for _ in range(times)),
                return_exceptions=True,
            )
            return results, client.usd

    return asyncio.run(all_at_once())


def test_the_budget_is_never_overrun_and_is_used_up():
    with ChatServer(lambda _: completion("Hi.", delay=0.05, output_tokens=20)) as server:
        endpoint = Endpoint(model="m", base_url=server.url, concurrency=8, **PRICES)
        # A request costs 30 dollars here, and could cost most.
        most = most_tokens(HELLO, max_tokens=20) + 20
        results, usd = spend(endpoint, max_usd=90 + most, times=20)
    answers = [result for result in results if isinstance(result, Answer)]
    refused = [result for result in results if isinstance(result, BudgetError)]
    assert len(answers) + len(refused) == 20
    assert len(answers) == len(server.requests) == 4
    assert usd == 120
    assert "stopped at $120" in str(refused[0])


def test_the_budget_counts_what_was_used_before_and_not_what_failed():
    with ChatServer(in_turn([failure(400), completion("Hi.")])) as server:
        endpoint = Endpoint(model="m", base_url=server.url, concurrency=1, **PRICES)
        results, usd = spend(endpoint, max_usd=300, times=2, used=Usage(100, 0))
    assert [type(result) for result in results] == [ChatError, Answer]
    assert usd == 115


def test_half_a_surrogate_pair_is_replaced():
    with ChatServer(lambda _: completion("a\ud800b")) as server:
        assert ask(Endpoint(model="m", base_url=server.url))[0].text == "a?b"


def test_a_server_that_counts_no_tokens_is_charged_by_bytes():
    body = b'{"choices": [{"message": {"content": "\xc3\xa9t\xc3\xa9"}}]}'
    with ChatServer(lambda _: Reply(body)) as server:
        (answer,) = ask(Endpoint(model="m", base_url=server.url))
    assert answer == Answer("été", Usage(most_tokens(HELLO), 5))
