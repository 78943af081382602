"""Servers that are broken or malicious, through Oumi's engine and through the chat client."""

import asyncio
import dataclasses
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs import (
    EvaluationTaskParams,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from oumi.inference import RemoteInferenceEngine

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.api_bank.task import api_bank
from coalm_oumi.llm import http, recorded
from coalm_oumi.llm.chat import Answer, ChatClient, ChatError, Endpoint, most_tokens
from coalm_oumi.llm.failure import is_too_long
from coalm_oumi.llm.recorded import RecordedModel
from coalm_oumi.llm.weights import fingerprint
from tests.llm.test_recorded import config, question
from tests.support.chat_server import ChatServer, Reply, Request, completion, failure

HELLO = [{"role": "user", "content": "Hello!"}]


def ask_engine(url: str, folder: Path, count: int = 1, **remote: Any) -> list[str]:
    params = RemoteParams(
        api_url=f"{url}/chat/completions", **{"max_retries": 0, "num_workers": 4, **remote}
    )
    run = dataclasses.replace(
        config(folder),
        model=ModelParams(model_name="m"),
        inference_engine=InferenceEngineType.REMOTE,
        inference_remote_params=params,
    )
    engine = RemoteInferenceEngine(run.model, remote_params=params)
    with RecordedModel(engine, run, "task") as model:
        return model.ask([question(str(n), f"question {n}") for n in range(count)])


def ask_client(url: str, **endpoint: Any) -> Answer:
    async def one() -> Answer:
        server = Endpoint(model="m", base_url=url, **{"retries": 0, **endpoint})
        async with ChatClient(server) as client:
            return await client.complete(HELLO, max_tokens=5)

    return asyncio.run(one())


@contextmanager
def raw_server(respond: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that writes whatever it likes onto the connection, after reading the request."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=[connection], daemon=True).start()

    def converse(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                respond(connection)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        ended.set()
        listening.close()


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


@pytest.mark.parametrize("respond", [drip, endless])
def test_a_reply_is_bounded_in_time_and_bytes(respond, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 1 << 20)
    with raw_server(respond) as url:
        start = time.monotonic()
        with pytest.raises(ChatError, match=r"no whole reply|longer than"):
            ask_client(url, timeout=1)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_tokens": -(10**9), "completion_tokens": -5}, None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": "7", "completion_tokens": True}, None),
        ({"prompt_tokens": 10**400, "completion_tokens": 1.5}, None),
        ([], None),
        ({"prompt_tokens": 7, "completion_tokens": 3.0}, Usage(7, 3)),
    ],
)
def test_a_count_that_is_none_is_bounded_by_bytes(counts: Any, usage: Usage | None):
    content = {"choices": [{"message": {"content": "Hi."}}], "usage": counts}
    with ChatServer(lambda _: Reply(json.dumps(content).encode())) as server:
        assert ask_client(server.url).usage == (usage or Usage(most_tokens(HELLO), 3))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no quota", "code": "insufficient"}}, r"no quota \(insufficient\)"),
        ({"error": "burning"}, "burning"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_an_error_in_any_form_is_shown(body: Any, message: str, status: int):
    reply = Reply(json.dumps(body).encode(), status)
    with ChatServer(lambda _: reply) as server, pytest.raises(ChatError, match=message):
        ask_client(server.url)


@pytest.mark.parametrize("pause", ["1000000000", "1e308", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_pause_of_years_ends_the_run_with_the_time_to_come_back(pause: str, tmp_path: Path):
    reply = dataclasses.replace(failure(429, "slow down"), headers={"Retry-After": pause})
    with ChatServer(lambda _: reply) as server:
        start = time.monotonic()
        with pytest.raises(ChatError, match=r"run again after that.*slow down"):
            ask_client(server.url, retries=5)
        with pytest.raises(CoalmError, match=r"run again after that.*slow down"):
            ask_engine(server.url, tmp_path, max_retries=5)
        assert time.monotonic() - start < 10


def test_no_reply_shows_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    key = "sk-very/secret-0123"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    escaped = "".join(f"\\u{ord(char):04x}" for char in key)

    def echo(request: Request) -> Reply:
        if "question 0" in request.body.decode():
            told = request.headers["authorization"]
            return Reply(
                b'{"error": {"message": "%b and %b"}}' % (told.encode(), escaped.encode()), 400
            )
        return completion(f"your key is {key}")

    with ChatServer(echo) as server:
        texts = ask_engine(server.url, tmp_path, 2, api_key_env_varname="OPENAI_API_KEY")
        assert texts == ["", "your key is ***"]
        assert ask_client(server.url).text == "your key is ***"
    written = "".join(file.read_text() for file in tmp_path.rglob("*.jsonl"))
    assert key not in written + caplog.text and "***" in written


def test_a_redirect_to_another_host_is_refused(tmp_path: Path):
    with ChatServer(lambda _: completion("stolen")) as thief:
        to = Reply(status=307, headers={"Location": f"{thief.url}/chat/completions"})
        with ChatServer(lambda _: to) as server:
            with pytest.raises(ChatError, match="redirects to another host"):
                ask_client(server.url)
            with pytest.raises(CoalmError, match="redirects to another host"):
                ask_engine(server.url, tmp_path)
    assert not thief.requests


def test_a_redirect_on_the_same_host_is_followed():
    def respond(request: Request) -> Reply:
        if request.path.startswith("/v1/"):
            return Reply(status=308, headers={"Location": "/v2/chat/completions"})
        return completion("here")

    with ChatServer(respond) as server:
        assert ask_client(server.url).text == "here"


NESTED = "[" * 100_000 + "]" * 100_000
ANSWERS: dict[str, tuple[Any, str]] = {
    "parts": ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
    "no id or role": (
        {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        '[{"name": "f", "arguments": {}}]',
    ),
    "arguments as an object": (
        {"role": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
        '[{"name": "f", "arguments": {"x": 1}}]',
    ),
    "NaN": (
        {"tool_calls": [{"function": {"name": "f", "arguments": '{"height": NaN}'}}]},
        '[{"name": "f", "arguments": "{\\"height\\": NaN}"}]',
    ),
    "out of range": (
        {"tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1e999}'}}]},
        '[{"name": "f", "arguments": "{\\"x\\": 1e999}"}]',
    ),
    "deep": (
        {"tool_calls": [{"function": {"name": "f", "arguments": NESTED}}]},
        json.dumps([{"name": "f", "arguments": NESTED}]),
    ),
    "a list as text": ({"content": [1]}, ""),
    "no name": ({"tool_calls": [{"function": {}}]}, ""),
}


@pytest.mark.parametrize(("message", "text"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_odd_answer_is_read_or_refused_and_the_run_goes_on(
    tmp_path: Path, message: Any, text: str
):
    def respond(request: Request) -> Reply:
        if "question 1" not in request.body.decode():
            return completion("fine")
        content = {"error": None, "choices": [{"message": message}], "usage": None}
        return Reply(json.dumps(content).encode())

    with ChatServer(respond) as server:
        assert ask_engine(server.url, tmp_path, 3) == ["fine", text, "fine"]


TOO_LONG = {
    "OpenAI": (400, {"error": {"message": "Please reduce it", "code": "context_length_exceeded"}}),
    "llama.cpp": (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message":
                  "the request exceeds the available context size, try increasing it"}}),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096."
            " Given: 5000 `inputs` tokens and 512 `max_new_tokens`", "error_type": "validation"}),
    "Gemini": (400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
               "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}]),
    "vLLM": (400, {"error": {"message": "You passed 5000 input tokens and requested 0 output tokens. "
             "However, the model's context length is only 4096 tokens"}}),
    "older llama.cpp": (500, {"error": {"message": "Requested tokens (5000) exceed context window of 4096"}}),
    "gateway": (413, {"detail": "no"}),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_too_long_in_every_server_s_words_ends_no_run(tmp_path: Path, status: int, body: Any):
    with ChatServer(lambda _: Reply(json.dumps(body).encode(), status)) as server:
        assert ask_engine(server.url, tmp_path, 9, max_retries=3) == [""] * 9
        assert len(server.requests) == 9


def test_settings_that_are_wrong_are_not_taken_for_long_prompts():
    assert not is_too_long("max_tokens is too large: this model supports at most 16384", 400)
    assert not is_too_long("Request too large: context length limit per minute", 429)


def test_refusals_in_unknown_words_pass_once_others_were_answered(tmp_path: Path):
    def respond(request: Request) -> Reply:
        text = request.json["messages"][-1]["content"]
        number = int(text.split()[-1]) if text.startswith("question") else 0
        return completion("yes") if number < 3 else failure(400, "das ist zu viel")

    with ChatServer(respond) as server:
        for _ in range(2):
            assert ask_engine(server.url, tmp_path, 40) == ["yes"] * 3 + [""] * 37
        assert len([r for r in server.requests if b"Hello!" in r.body]) <= 5


def test_a_question_that_breaks_the_server_fails_one_run_and_not_the_next(tmp_path: Path):
    def respond(request: Request) -> Reply:
        return failure(500, "worker died") if b"question 1" in request.body else completion("yes")

    with ChatServer(respond) as server:
        with pytest.raises(CoalmError, match="failed at 1 of 3 questions, first at 1: worker died"):
            ask_engine(server.url, tmp_path, 3)
        assert ask_engine(server.url, tmp_path, 3) == ["yes", "", "yes"]


def test_a_server_that_is_gone_ends_the_run_early_and_leaves_no_marks(tmp_path: Path):
    with ChatServer(lambda _: failure(503, "away")) as server:
        for _ in range(2):
            with pytest.raises(CoalmError, match="away"):
                ask_engine(server.url, tmp_path, 200)
        assert len(server.requests) < 2 * 30
    with ChatServer(lambda _: completion("yes")) as server:
        assert ask_engine(server.url, tmp_path, 3) == ["yes"] * 3


def test_answers_of_the_model_served_before_under_the_same_name_are_not_reused(tmp_path: Path):
    tuned = {"id": "m", "root": "/models/tuned", "created": 1}
    with ChatServer(lambda _: completion("tuned"), serves=tuned) as server:
        port_bound = server.url
        assert ask_engine(port_bound, tmp_path) == ["tuned"]
        server.serves = {**tuned, "created": 2}
        assert ask_engine(port_bound, tmp_path) == ["tuned"] and len(server.requests) == 1
        server.serves = {**tuned, "root": "/models/base"}
        server._respond = lambda _: completion("base")
        assert ask_engine(port_bound, tmp_path) == ["base"]
        server.serves = tuned
        assert ask_engine(port_bound, tmp_path) == ["tuned"] and len(server.requests) == 2


def test_recorded_answers_need_no_server_and_say_where_they_come_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with ChatServer(lambda _: completion("yes"), serves={"id": "m", "root": "r"}) as server:
        assert ask_engine(server.url, tmp_path, 2) == ["yes"] * 2
    recorded.logger.propagate = True
    caplog.clear()
    assert ask_engine(server.url, tmp_path, 2) == ["yes"] * 2
    assert "reused 2 recorded answers" in caplog.text and "raw/task." in caplog.text
    with pytest.raises(CoalmError, match="start the server"):
        ask_engine(server.url, tmp_path, 3)


def test_weights_are_known_by_content_alone(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 1000)
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(str(tmp_path))
    (tmp_path / "README.md").write_text("a card")
    (tmp_path / "config.json").touch()
    assert fingerprint(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 999 + b"\1")
    assert fingerprint(str(tmp_path)) != before


def test_nobody_waits_for_the_slowest(tmp_path: Path):
    """One answer comes once all other conversations have ended. In lockstep it would never come."""
    asked: Counter[int] = Counter()

    def respond(request: Request) -> Reply:
        conversation, _ = map(int, request.json["messages"][-1]["content"].split())
        asked[conversation] += 1
        if conversation == 0 and asked[0] == 1:
            return dataclasses.replace(
                completion("yes"), until=lambda: all(asked[n] == 3 for n in range(1, 30))
            )
        return completion("yes")

    with ChatServer(respond) as server:
        params = RemoteParams(
            api_url=f"{server.url}/chat/completions", num_workers=30, connection_timeout=30
        )
        run = dataclasses.replace(
            config(tmp_path),
            inference_engine=InferenceEngineType.REMOTE,
            inference_remote_params=params,
        )
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params)
        with RecordedModel(engine, run, "task") as model:

            async def lead(number: int) -> int:
                for step in range(3):
                    await model.answer(question(f"{number}/{step}", f"{number} {step}"))
                return number

            assert sorted(model.run(map(lead, range(30)))) == list(range(30))
    assert set(asked.values()) == {3}


@pytest.mark.parametrize("knows_tools", [True, False])
def test_a_server_that_leaves_tools_out_is_refused(tmp_path: Path, knows_tools: bool):
    def respond(request: Request) -> Reply:
        shown = [request.json["messages"], request.json.get("tools") if knows_tools else None]
        return completion("yes", input_tokens=len(json.dumps(shown)))

    file = tmp_path / "level-1-api.json"
    file.write_text(
        json.dumps(
            [
                {
                    "query": [{"role": "user", "content": "A table.\nGenerate API Request:"}],
                    "tools": [{"name": "Book", "description": "Books.", "parameters": {}}],
                    "answers": [{"name": "Book", "arguments": {}}],
                }
            ]
        )
    )
    with ChatServer(respond) as server:
        params = RemoteParams(api_url=f"{server.url}/chat/completions", max_retries=0)
        run = dataclasses.replace(
            config(tmp_path),
            model=ModelParams(model_name="m"),
            inference_engine=InferenceEngineType.REMOTE,
            inference_remote_params=params,
        )

        def evaluate() -> Any:
            engine = RemoteInferenceEngine(run.model, remote_params=params)
            task = EvaluationTaskParams(task_name="t", evaluation_backend="custom")
            return api_bank(task, run, engine, data={"path": str(file), "style": "native"})

        if not knows_tools:
            with pytest.raises(CoalmError, match="leaves out functions"):
                evaluate()
            assert len(server.requests) == 2, "nothing but the probe is asked"
            return
        first = evaluate().task_result
        assert len(server.requests) == 3
        assert evaluate().task_result == first and len(server.requests) == 3
