import dataclasses
import json
from pathlib import Path

import pytest
from oumi.core.configs import EvaluationConfig, GenerationParams, ModelParams
from oumi.core.inference.base_inference_engine import FailureDetail, InferenceResult
from oumi.core.types.conversation import Message, Role
from oumi.inference import NativeTextInferenceEngine

from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation.inference import Question, RecordedModel


def question(key: str, text: str = "hello") -> Question:
    return Question(key, [Message(role=Role.USER, content=text)])


def config(folder: Path, **generation) -> EvaluationConfig:
    return EvaluationConfig(output_dir=str(folder), generation=GenerationParams(**generation))


class Engine:
    """Says how often it was asked, and fails where it is told to."""

    def __init__(self, failing: dict[str, FailureDetail] | None = None) -> None:
        self.failing, self.asked = failing or {}, []

    def infer_partial(self, conversations):
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
    (weights / "config.json").write_text('{"trained": "anew"}')
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
    answers = ask(engine, config(tmp_path, batch_size=4), *questions)
    assert engine.asked == ["b"]
    assert answers[2] == ""  # refused for good, and said so in the record
    (record,) = (tmp_path / "raw").glob("task.*.jsonl")
    assert "too long for the context" in record.read_text()


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


def test_native_calls_are_recorded_as_figure_5_writes_them(tmp_path: Path):
    class Calling(Engine):
        def infer_partial(self, conversations):
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
    batched = ask(engine, run, *questions)
    assert len(set(batched)) > 1 and all(isinstance(text, str) for text in batched)
    alone = [
        ask(engine, dataclasses.replace(run, output_dir=str(tmp_path / q.key)), q)[0]
        for q in questions
    ]
    assert alone == batched
