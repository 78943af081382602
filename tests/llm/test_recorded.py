import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oumi.core.configs import (
    EvaluationConfig,
    GenerationParams,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from oumi.core.inference.base_inference_engine import (
    FailureDetail,
    InferenceErrorType,
    InferenceResult,
)
from oumi.core.types.conversation import Message, Role
from oumi.inference import NativeTextInferenceEngine, RemoteInferenceEngine

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.llm.recorded import Question, RecordedModel
from tests.conftest import REPO
from tests.support import PATIENCE
from tests.support.chat_server import ChatServer, Reply, Request, completion, failure


def question(key: str, text: str = "hello") -> Question:
    return Question(key, [Message(role=Role.USER, content=text)])


def config(folder: Path, **generation) -> EvaluationConfig:
    return EvaluationConfig(output_dir=str(folder), generation=GenerationParams(**generation))


class Engine:
    """Says how often it was asked, and fails where it is told to."""

    def __init__(self, failing: dict[str, FailureDetail] | None = None) -> None:
        self.failing, self.asked = failing or {}, []

    def infer_partial(self, conversations, config=None):
        successful, failures = [], {}
        for place, conversation in enumerate(conversations):
            self.asked.append(conversation.conversation_id)
            if failure := self.failing.get(conversation.conversation_id):
                failures[place] = failure
                continue
            answer = Message(role=Role.ASSISTANT, content=f"answer {len(self.asked)}")
            messages = [*conversation.messages, answer]
            successful.append((place, conversation.model_copy(update={"messages": messages})))
        return InferenceResult(successful=successful, failures=failures)


def ask(engine, config: EvaluationConfig, *questions: Question) -> list[str]:
    with RecordedModel(engine, config, "task") as model:
        return model.ask(questions)


def test_an_answer_is_asked_for_once(tmp_path: Path):
    engine = Engine()
    first = ask(engine, config(tmp_path), question("a"), question("b", "a longer one"))
    assert engine.asked == ["b", "a"]  # the longest first
    assert (
        ask(engine, config(tmp_path), question("b", "a longer one"), question("a")) == first[::-1]
    )
    assert len(engine.asked) == 2
    ask(engine, config(tmp_path), question("a", "another prompt"))
    ask(engine, config(tmp_path, max_new_tokens=7), question("a"))
    assert len(engine.asked) == 4


def test_another_model_in_the_same_folder_is_asked_anew(tmp_path: Path):
    weights = tmp_path / "model"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    run = dataclasses.replace(config(tmp_path), model=ModelParams(model_name=str(weights)))
    engine = Engine()
    ask(engine, run, question("a"))
    ask(engine, run, question("a"))
    (weights / "config.json").write_text('{"trained": "again"}')
    ask(engine, run, question("a"))
    assert len(engine.asked) == 2


def test_what_was_answered_is_kept_when_others_fail(tmp_path: Path):
    failing = {
        "b": FailureDetail("the server is away"),
        "c": FailureDetail("too long for the context", is_retryable=False),
    }
    questions = [question("a"), question("b"), question("c")]
    with pytest.raises(CoalmError, match=r"failed at 1 of \d questions, first at b: the server is"):
        ask(Engine(failing), config(tmp_path, batch_size=4), *questions)
    engine = Engine()
    engine.failing = {"c": failing["c"]}
    answers = ask(engine, config(tmp_path, batch_size=4), *questions)
    assert sorted(engine.asked) == ["b", "c"]
    assert answers[2] == ""  # refused for good, and a server with more room may answer it later


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "bad key"), (404, "no such model"), (400, "unknown parameter"), (503, "busy")],
)
def test_a_server_that_answers_nothing_leaves_no_empty_answers(
    tmp_path: Path, status: int, message: str
):
    questions = [question(str(n)) for n in range(5)]
    model, run = ModelParams(model_name="m"), config(tmp_path, batch_size=8)
    with ChatServer(lambda _: failure(status, message)) as server:
        remote = RemoteParams(api_url=f"{server.url}/chat/completions", max_retries=0)
        with pytest.raises(CoalmError, match=f"failed at 5 of 5 questions.*{message}"):
            ask(RemoteInferenceEngine(model, remote_params=remote), run, *questions)
    engine = Engine()
    ask(engine, run, *questions)
    assert len(engine.asked) == 5


def test_questions_that_were_refused_once_may_be_refused_again(tmp_path: Path):
    """The second run asks these alone, and is told no each time."""
    questions = [question(str(n), f"question {n}") for n in range(6)]

    def answer(request: Request) -> Reply:
        told = request.json["messages"][-1]["content"]
        return completion("yes") if told == "question 0" else failure(400, "content filter")

    model, run = ModelParams(model_name="m"), config(tmp_path, batch_size=8)
    with ChatServer(answer) as server:
        remote = RemoteParams(api_url=f"{server.url}/chat/completions", max_retries=0)
        for _ in range(2):
            engine = RemoteInferenceEngine(model, remote_params=remote)
            assert ask(engine, run, *questions) == ["yes", *[""] * 5]
        assert len(server.requests) == 6 + 5
        more = [question(f"more {n}", f"something longer {n}") for n in range(8)]
        with pytest.raises(CoalmError, match="failed at 8 of 14 questions"):
            ask(engine, run, *questions, *more)


def test_a_server_may_find_every_question_too_long(tmp_path: Path):
    questions = [question(str(n)) for n in range(5)]
    with ChatServer(lambda _: failure(400, "This model's maximum context length is 9")) as server:
        remote = RemoteParams(api_url=f"{server.url}/chat/completions", max_retries=0)
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
        assert ask(engine, config(tmp_path, batch_size=8), *questions) == [""] * 5
        assert len(server.requests) == 5


def test_a_question_that_breaks_its_batch_does_not_break_the_others(tmp_path: Path):
    class Whole(Engine):
        """Fails as vLLM does: one prompt that is too long takes its whole batch with it."""

        def infer_partial(self, conversations, config=None):
            if any(c.conversation_id == "3" for c in conversations):
                broke = FailureDetail(
                    "longer than the maximum model length of 9",
                    error_type=InferenceErrorType.ENGINE_FAILURE,
                )
                return InferenceResult([], dict.fromkeys(range(len(conversations)), broke))
            return super().infer_partial(conversations)

    answers = ask(Whole(), config(tmp_path, batch_size=8), *(question(str(n)) for n in range(8)))
    assert [bool(text) for text in answers] == [True] * 3 + [False] + [True] * 4


def test_an_engine_that_breaks_at_a_question_stops_the_run(tmp_path: Path):
    broke = FailureDetail("out of memory", error_type=InferenceErrorType.ENGINE_FAILURE)
    with pytest.raises(CoalmError, match="failed at 1 of 2 questions, first at a: out of memory"):
        ask(Engine({"a": broke}), config(tmp_path, batch_size=2), question("a"), question("b"))


def test_a_killed_run_goes_on(tmp_path: Path):
    questions = [question(str(n)) for n in range(6)]
    with RecordedModel(Engine(), config(tmp_path), "task") as model:
        model.ask(questions[:3])
    (record,) = (tmp_path / "raw").glob("task.*.jsonl")
    with record.open("a") as stream:
        stream.write('{"key": "3#')  # killed in the middle of a line
    engine = Engine()
    ask(engine, config(tmp_path), *questions)
    assert sorted(engine.asked) == ["3", "4", "5"]


def remote(folder: Path) -> EvaluationConfig:
    return dataclasses.replace(config(folder), inference_engine=InferenceEngineType.REMOTE)


ASK = """
import sys
from pathlib import Path
from tests.llm.test_recorded import RemoteInferenceEngine, ask_server
ask_server(sys.argv[1], Path(sys.argv[2]))
"""


def ask_server(url: str, folder: Path) -> list[str]:
    """Asks eight questions at once."""
    remote = RemoteParams(api_url=f"{url}/chat/completions", num_workers=8, max_retries=0)
    run = dataclasses.replace(
        config(folder), inference_engine=InferenceEngineType.REMOTE, inference_remote_params=remote
    )
    engine = RemoteInferenceEngine(run.model, remote_params=remote)
    return ask(engine, run, *(question(str(n), f"question {n}") for n in range(8)))


def test_answers_that_came_before_a_kill_are_not_paid_for_twice(tmp_path: Path):
    """Killed while five of eight answers of one batch were there, and three still on their way."""
    asked: list[str] = []

    def respond(request):
        text = request.json["messages"][-1]["content"]
        asked.append(text)
        slow = int(text.split()[1]) > 4 and asked.count(text) == 1
        return completion(f"answer to {text}", delay=600 if slow else 0)

    with ChatServer(respond) as server:
        process = subprocess.Popen([sys.executable, "-c", ASK, server.url, tmp_path], cwd=REPO)
        deadline = time.monotonic() + PATIENCE
        while sum(len(f.read_bytes().splitlines()) for f in tmp_path.glob("raw/*.jsonl")) < 1 + 5:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        answers = ask_server(server.url, tmp_path)
    assert answers == [f"answer to question {n}" for n in range(8)]
    assert {text: asked.count(text) for text in asked} == {
        f"question {n}": 2 if n > 4 else 1 for n in range(8)
    }


def test_a_task_after_another_finds_its_answers_again(tmp_path: Path):
    """The engine fills in the address that a recipe leaves out, once it is asked."""
    with ChatServer(lambda request: completion("yes")) as server:

        class Engine(RemoteInferenceEngine):
            base_url = f"{server.url}/chat/completions"

        def run() -> int:
            before = len(server.requests)
            params = dataclasses.replace(
                remote(tmp_path), inference_remote_params=RemoteParams(max_retries=0)
            )
            engine = Engine(params.model, remote_params=params.inference_remote_params)
            for task in ("first", "second"):
                with RecordedModel(engine, params, task) as model:
                    model.ask([question("a"), question("b")])
            return len(server.requests) - before

        assert (run(), run()) == (4, 0)


def test_native_calls_are_recorded_as_figure_5_writes_them(tmp_path: Path):
    class Calling(Engine):
        def infer_partial(self, conversations, config=None):
            (conversation,) = conversations
            tool_calls = [
                {"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "2", "function": {"name": "g", "arguments": "{broken"}},
            ]
            said = Message.model_validate(
                {"role": "assistant", "content": None, "tool_calls": tool_calls}
            )
            messages = [*conversation.messages, said]
            answered = conversation.model_copy(update={"messages": messages})
            return InferenceResult(successful=[(0, answered)], failures={})

    (text,) = ask(Calling(), config(tmp_path), question("a"))
    assert json.loads(text) == [
        {"name": "f", "arguments": {"x": 1}},
        {"name": "g", "arguments": "{broken"},
    ]


def test_oumis_native_engine_answers_in_batches(tiny_model: Path, tmp_path: Path):
    model = ModelParams(
        model_name=str(tiny_model),
        torch_dtype_str="float32",
        tokenizer_kwargs={"padding_side": "left"},
    )
    generation = GenerationParams(max_new_tokens=4, batch_size=2, temperature=0.0, use_cache=True)
    run = EvaluationConfig(output_dir=str(tmp_path), model=model, generation=generation)
    questions = [question(str(n), "word " * (n + 1)) for n in range(5)]
    engine = NativeTextInferenceEngine(model, generation_params=generation)
    dated = f"{{{{ strftime_now('%d %b %Y') }}}} {engine._tokenizer.chat_template}"
    engine._tokenizer.chat_template = dated
    batched = ask(engine, run, *questions)
    asked = engine._apply_chat_template_impl(questions[0].conversation())
    assert asked.startswith("26 Jul 2024 "), "the date of training, not today's"
    assert len(set(batched)) > 1 and all(isinstance(text, str) for text in batched)
    alone = [
        ask(engine, dataclasses.replace(run, output_dir=str(tmp_path / q.key)), q)[0]
        for q in questions
    ]
    assert alone == batched
