import csv
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs import (
    EvaluationConfig,
    EvaluationTaskParams,
    GenerationParams,
    ModelParams,
)
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.types.conversation import Message, Role
from oumi.inference import NativeTextInferenceEngine

from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation import styles, tasks
from coalm_oumi.evaluation.bfcl import environment, run
from coalm_oumi.evaluation.bfcl.client import Entry, Worker
from coalm_oumi.evaluation.bfcl.v3 import V3, columns
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.bfcl.worker import arithmetic
from coalm_oumi.evaluation.failures import Failure
from tests import official_bfcl
from tests.damage import damaged, right_answer

CATEGORIES = ("simple", "java", "javascript", "parallel_multiple", "irrelevance", "live_relevance",
    "multi_turn_base")  # fmt: skip
"""Enough to meet every runner and checker of the package; all 17 take the benchmark."""


@pytest.fixture(scope="session")
def official() -> Path:
    """The interpreter of bfcl-eval's environment."""
    try:
        return environment.python(V3)
    except CoalmError as error:
        pytest.skip(f"the environment of bfcl-eval cannot be built here: {error}")


@pytest.fixture(scope="session")
def entries(official: Path) -> dict[str, list[Entry]]:
    with Worker(V3) as worker:
        return {category: worker.questions(category) for category in CATEGORIES}


CALLED = {"bracket": "[f(x=1), g(y='a')]", "json": '[{"name": "f", "arguments": {"x": 1}}]'}


def answers_of_all_qualities(entries: Sequence[Entry], form: str, seed: int) -> list[Any]:
    """A third right, the rest damaged."""
    random_ = random.Random(seed)
    right = [right_answer(entry, form) for entry in entries]
    if entries[0].is_conversation:
        steps = [step for answer in right for turn in answer for step in turn]
        return [
            [
                [step if random_.random() < 0.9 else damaged(step, steps, random_) for step in turn]
                for turn in answer
            ]
            for answer in right
        ]
    others = [*right, *(CALLED[form],) * len(right)]
    return [text if random_.random() < 0.33 else damaged(text, others, random_) for text in right]


@pytest.fixture(scope="session")
def engine_answers(tiny_model: Path, entries, tmp_path_factory) -> list[str]:
    """What Oumi's engine and a small model with random weights answer to the first samples."""
    model = ModelParams(
        model_name=str(tiny_model),
        torch_dtype_str="float32",
        tokenizer_kwargs={"padding_side": "left"},
    )
    generation = GenerationParams(max_new_tokens=12, batch_size=8, temperature=0.0, use_cache=True)
    folder = tmp_path_factory.mktemp("engine")
    config = EvaluationConfig(output_dir=str(folder), model=model, generation=generation)
    engine = NativeTextInferenceEngine(model, generation_params=generation)
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=8)
    tasks.bfcl_v3(params, config, engine, data={"categories": ["simple"]})
    lines = (folder / "answers/bfcl_v3.jsonl").read_text().splitlines()
    return [json.loads(line)["response"] for line in lines]


@pytest.fixture(scope="session")
def native_answers(entries) -> list[str]:
    """Calls of `simple` with dots or underscores in their names, whole and damaged."""
    random_ = random.Random(5)
    answers = []
    for entry in entries["simple"]:
        called = json.loads(right_answer(entry, "json"))
        if random_.random() < 0.7:  # the names as the tools have them; else as the questions do
            called = [{**call, "name": call["name"].replace(".", "_")} for call in called]
        text = json.dumps(called)
        answers.append(text if random_.random() < 0.6 else damaged(text, [text, "[]"], random_))
    return answers


@pytest.fixture(scope="session")
def asked(entries, engine_answers) -> dict[str, dict[str, list[Any]]]:
    """Right, damaged and a real engine's answers, by style and category."""
    asked: dict[str, dict[str, list[Any]]] = {"bfcl": {}, "coalm": {}}
    for number, category in enumerate(CATEGORIES):
        for style, form in (("bfcl", "bracket"), ("coalm", "json")):
            if form == "json" and category.startswith("multi_turn"):
                continue  # the references of these are in brackets
            answers = answers_of_all_qualities(entries[category], form, number)
            if category in ("simple", "irrelevance"):
                answers[: len(engine_answers)] = engine_answers
            asked[style][category] = answers
    return asked


@pytest.fixture(scope="session")
def evaluated(official, entries, asked, native_answers, tmp_path_factory) -> Path:
    """What one run of `bfcl evaluate` says of all of them: it takes seconds to start."""
    root = tmp_path_factory.mktemp("bfcl")
    raw = {
        run.OFFICIAL_MODELS[style]: {
            category: [(entry.id, answer) for entry, answer in zip(entries[category], answers, strict=True)]
            for category, answers in found.items()
        }
        for style, found in asked.items()
    }  # fmt: skip
    answered = list(zip(entries["simple"], native_answers, strict=True))
    run.write_results(root, V3, styles.by_name("native"), answered)
    official_bfcl.evaluate(V3, root, raw, CATEGORIES, run.OFFICIAL_MODELS["native"])
    return root


@pytest.mark.parametrize("name", ["bfcl", "coalm"])
def test_every_verdict_is_that_of_bfcl_evaluate_on_the_raw_answers(entries, asked, evaluated, name):
    style, found = styles.by_name(name), asked[name]
    samples = [entry for category in found for entry in entries[category]]
    judged = run.judge(V3, style, samples, [a for answers in found.values() for a in answers])
    assert all((j.failure is None) == j.verdict.valid for j in judged)
    for category in found:
        ours = [j for j in judged if j.entry.category == category]
        wrong = Counter(j.entry.id for j in ours if not j.verdict.valid)
        assert wrong == official_bfcl.wrong(V3, evaluated, run.OFFICIAL_MODELS[name], category)
        assert 0 < wrong.total() < len(ours), category


def test_native_calls_are_judged_with_underscores_for_dots(entries, native_answers, evaluated):
    style, samples = styles.by_name("native"), entries["simple"]
    assert any("." in function["name"] for entry in samples for function in entry.functions)
    judged = run.judge(V3, style, samples, native_answers)
    wrong = Counter(j.entry.id for j in judged if not j.verdict.valid)
    assert wrong == official_bfcl.wrong(V3, evaluated, run.OFFICIAL_MODELS["native"], "simple")
    assert 50 < wrong.total() < 350


def test_columns_are_those_of_the_leaderboard(official, tmp_path):
    """Against `data_overall.csv`, from accuracies that differ in every category."""
    random_ = random.Random(1)
    sizes, accuracies = {}, {}
    folder = tmp_path / "score" / "uiuc-convai_CoALM-8B"
    folder.mkdir(parents=True)
    (data,) = official.parent.parent.glob("lib/*/site-packages/bfcl_eval/data")
    for category in V3.groups["all"]:
        sizes[category] = len((data / f"BFCL_v3_{category}.json").read_text().splitlines())
        accuracies[category] = random_.randrange(sizes[category] + 1) / sizes[category]
        row = {"accuracy": accuracies[category], "total_count": sizes[category]}
        (folder / f"BFCL_v3_{category}_score.json").write_text(json.dumps(row))
    assert sum(sizes.values()) == 4441
    (tmp_path / "result").mkdir()
    official_bfcl.evaluate(V3, tmp_path, {}, CATEGORIES)
    (row,) = csv.DictReader((tmp_path / "score" / "data_overall.csv").open())
    printed = {name: f"{100 * value:.2f}%" for name, value in columns(accuracies, sizes).items()}
    assert printed == {
        "overall": row["Overall Acc"],
        "non_live_ast": row["Non-Live AST Acc"],
        "live": row["Live Acc"],
        "multi_turn": row["Multi Turn Acc"],
        "relevance": row["Relevance Detection"],
        "irrelevance": row["Irrelevance Detection"],
    }


def test_a_column_with_a_category_missing_is_left_out():
    assert columns({"irrelevance": 1.0}, {}) == {}
    assert columns({"irrelevance": 1.0, "live_irrelevance": 0.5}, {}) == {"irrelevance": 0.75}


@pytest.mark.parametrize("version", [V3, V4], ids=lambda version: version.name)
def test_nothing_that_the_decoder_would_evaluate_is_evaluated(version: Version, tmp_path: Path):
    """The decoder gets a model's text as it is, and has no `eval` but ours to evaluate it with."""
    owned = tmp_path / "owned"
    harm = f"__import__('os').system('touch {owned}')"
    quoted = harm.replace("'", '"')
    harmful = [
        f"[f(x={harm} + 1)]",
        f"<TOOLCALL>[f(x={harm} + 1)]</TOOLCALL>",
        f"['f(y='(x={quoted}+1),')']",  # read as one text or as a call, by how it is trimmed
        "f(x=(lambda: 1)() + 1)",
        "f(x=[].__class__.__base__.__subclasses__() + [])",
        "f(x=9 ** 9 ** 9 ** 9)",
        "f(x='a' * 10000000000)",
        "f(x='%1000000000d' % 1)",
    ]
    harmless = ["f(x=1 + 2 * 3)", "[f(x='a' + 'b'), g()]", "no call", "[\n  f(a=1),\n  g()\n]"]
    deep = [
        "[" * 100_000,
        f"f(x={'-' * 100_000}1)",
        f"f(x={'1+' * 20_000}1)",
        "f(y=" * 150 + ")" * 150,
    ]
    with _worker(version) as worker:
        read = worker.read("bracket", harmful)
        assert (read.pop(2) is None) == (version is V4), "V3 reads a text, V4 what is in it"
        assert read == [None] * len(read)
        first, second, none, last = worker.read("bracket", harmless)
        assert (first, second, none) == (["f(x=7)"], ["f(x='ab')", "g()"], None)
        assert last == (None if version is V3 else ["f(a=1)", "g()"])
        worker.read("bracket", deep)
        worker.score("bracket", {"irrelevance": list(enumerate(harmful))}, workers=1)
    assert not owned.exists()


def test_arithmetic_on_literals_is_computed():
    values = {
        "1 + 2 * 3": 7,
        "-(2 - 5) / 4": 0.75,
        "7 // 2 % 3": 0,
        "'a' + 'b'": "ab",
        "[1] * 2 + [2.5]": [1, 1, 2.5],
        "(1, 2) + (3,)": (1, 2, 3),
        "'a' * -3": "",
        "True + 1": 2,
        "1j * 2": 2j,
        "+1 - -1": 2,
    }
    assert {text: arithmetic.evaluate(text) for text in values} == values


def _worker(version: Version) -> Worker:
    try:
        return Worker(version)
    except CoalmError as error:
        pytest.skip(f"the environment of bfcl-eval cannot be built here: {error}")


def test_only_the_samples_own_functions_are_executed(official, entries, tmp_path):
    entry = entries["multi_turn_base"][0]
    owned = tmp_path / "owned"
    harmful = [
        f"open(file={str(owned)!r}, mode='w')",
        "importlib.import_module(name='os')",
        f"cd(folder=open({str(owned)!r}, 'w'))",
        "cd(folder=[].__class__)",
        "cd(**{'folder': 'document'})",
        "breakpoint()",
        "cd",
        f"x=1) or open({str(owned)!r}, 'w') or f(",
    ]
    with Worker(V3) as worker:
        ((_, results),) = worker.execute([(entry, [*harmful, "cd(folder='document')"])])
        steps = [
            [f"[{', '.join(harmful)}]", "[cd(folder='document')]"],
            *([""] for _ in entry.expected[1:]),
        ]
        (verdict,) = worker.score("bracket", {entry.category: [(0, steps)]})
    assert all(result.startswith("Error during execution: ") for result in results[:-1])
    assert results[0] == "Error during execution: name 'open' is not defined"
    assert results[-1] == '{"current_working_directory": "document"}'
    assert not verdict.valid
    assert not owned.exists()


class Expert:
    """Answers BFCL from its references, and counts how often it is asked."""

    def __init__(self, entries: dict[str, list[Entry]], form: str) -> None:
        self.entries, self.form, self.asked = entries, form, 0

    def infer_partial(self, conversations, config=None):
        answered = []
        for place, conversation in enumerate(conversations):
            self.asked += 1
            category, index, *step = conversation.conversation_id.split("/")
            answer = right_answer(self.entries[category][int(index)], self.form)
            if step:
                answer = answer[int(step[0])][int(step[1])]
            said = Message(role=Role.ASSISTANT, content=answer)
            messages = [*conversation.messages, said]
            answered.append((place, conversation.model_copy(update={"messages": messages})))
        return InferenceResult(successful=answered, failures={})


def evaluate(engine, folder: Path, data: dict[str, Any], count: int | None = None):
    config = EvaluationConfig(output_dir=str(folder))
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=count)
    result = tasks.bfcl_v3(params, config, engine, data=data)
    values = result.task_result["results"]["coalm-oumi/bfcl_v3"]
    rows = [json.loads(line) for line in (folder / values["answers"]).read_text().splitlines()]
    return values, rows


@pytest.mark.parametrize(("style", "form"), [("bfcl", "bracket"), ("coalm", "json")])
def test_the_task_scores_an_expert_and_asks_nothing_twice(entries, tmp_path, style, form):
    expert = Expert(entries, form)
    data = {"style": style, "categories": ["simple", "irrelevance"]}
    values, rows = evaluate(expert, tmp_path, data, count=20)
    assert (values["category/simple"], values["category/irrelevance"]) == (1.0, 1.0)
    assert (values["num_samples"], values["non_live_exec"], expert.asked) == (40, "retired", 40)
    assert "overall" not in values
    assert all(row["correct"] and row["prompt"] and row["failure"] is None for row in rows)
    assert "| simple | 20 | 20 | 100.00 |" in (tmp_path / "bfcl_v3.md").read_text()
    evaluate(expert, tmp_path, data, count=20)
    assert expert.asked == 40


def test_multi_turn_feeds_results_back(entries, tmp_path):
    expert = Expert(entries, "bracket")
    values, rows = evaluate(expert, tmp_path, {"categories": ["multi_turn_base"]}, count=12)
    assert (
        values["category/multi_turn_base"] >= 0.75
    )  # some references use arguments without a name
    record = next((tmp_path / "raw").glob("bfcl_v3.*.jsonl")).read_text()
    assert expert.asked == len(record.splitlines()) - 1 > 24
    failed = {row["failure"] for row in rows if not row["correct"]}
    assert failed <= {Failure.WRONG_STATE.value, Failure.OVER_CALLING.value}


def test_a_model_that_calls_for_ever_is_stopped(entries, tmp_path):
    class Restless:
        def infer_partial(self, conversations, config=None):
            answered = [
                (
                    n,
                    c.model_copy(
                        update={
                            "messages": [
                                *c.messages,
                                Message(role=Role.ASSISTANT, content="[pwd()]"),
                            ]
                        }
                    ),
                )
                for n, c in enumerate(conversations)
            ]
            return InferenceResult(successful=answered, failures={})

    _, (row,) = evaluate(Restless(), tmp_path, {"categories": ["multi_turn_base"]}, count=1)
    turns = json.loads(row["response"])
    assert [len(turn) for turn in turns] == [21]  # MAXIMUM_STEP_LIMIT of bfcl-eval, and one more
    assert row["failure"] == "over-calling" and "force-terminated" in row["reason"]


def test_bad_options(tmp_path):
    for data, message in (
        ({"style": "poem"}, "unknown prompt style 'poem'; use one of coalm, bfcl, native"),
        ({"style": "native"}, "takes none; use VLLM or a remote engine"),
        ({"categories": ["exec_simple"]}, "BFCL V3 has no category 'exec_simple'"),
        ({"categories": "exec_simple"}, "BFCL V3 has no category 'exec_simple'"),
        ({"category": ["simple"]}, r"eval_kwargs\.data: expected some of style, categories"),
    ):
        with pytest.raises(CoalmError, match=message):
            evaluate(None, tmp_path, data)
