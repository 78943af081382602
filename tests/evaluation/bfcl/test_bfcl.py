import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs import (
    EvaluationConfig,
    EvaluationTaskParams,
    GenerationParams,
    ModelParams,
    RemoteParams,
)
from oumi.inference import NativeTextInferenceEngine, RemoteInferenceEngine

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.bfcl import client, verdicts
from coalm_oumi.evaluation.bfcl import task as tasks
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.v3 import V3, columns
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.bfcl.worker import arithmetic
from coalm_oumi.evaluation.failures import Failure
from tests.support import official_bfcl
from tests.support.chat_server import ChatServer, Reply, Request, completion
from tests.support.damage import answers_of_all_qualities, damaged, right_answer
from tests.support.official_bfcl import Engine, Officially, run_task

CATEGORIES = ("simple", "java", "javascript", "parallel_multiple", "irrelevance", "live_relevance",
    "multi_turn_base")  # fmt: skip
"""Enough to meet every runner and checker of the package; all 17 take the benchmark."""


@pytest.fixture(scope="session")
def entries() -> dict[str, list[BfclEntry]]:
    return official_bfcl.questions(V3, CATEGORIES)


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
    tasks.bfcl_v3(params, config, engine, data={"style": "bfcl", "categories": ["simple"]})
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
def evaluated(entries, asked, native_answers, tmp_path_factory) -> Officially:
    """What one run of `bfcl evaluate` says of all of them."""
    answered = official_bfcl.paired(entries, asked)
    answered["native"] = list(zip(entries["simple"], native_answers, strict=True))
    return official_bfcl.evaluate(V3, tmp_path_factory.mktemp("bfcl"), answered, CATEGORIES)


@pytest.mark.parametrize("name", ["bfcl", "coalm"])
def test_every_verdict_is_that_of_bfcl_evaluate(entries, asked, evaluated, name):
    style, found = styles.STYLES[name], asked[name]
    samples = [entry for category in found for entry in entries[category]]
    judged = verdicts.judge(V3, style, samples, [a for answers in found.values() for a in answers])
    assert all((j.failure is None) == j.verdict.valid for j in judged)
    for category in found:
        ours = [j for j in judged if j.entry.category == category]
        wrong = Counter(j.entry.id for j in ours if not j.verdict.valid)
        assert wrong == evaluated.wrong(name, category), category
        assert 0 < wrong.total() < len(ours), category


def test_native_calls_are_judged_with_underscores_for_dots(entries, native_answers, evaluated):
    style, samples = styles.STYLES["native"], entries["simple"]
    assert any("." in function["name"] for entry in samples for function in entry.functions)
    judged = verdicts.judge(V3, style, samples, native_answers)
    wrong = Counter(j.entry.id for j in judged if not j.verdict.valid)
    assert wrong == evaluated.wrong("native", "simple")
    assert 50 < wrong.total() < 350


def test_columns_are_those_of_the_leaderboard(evaluated):
    """From accuracies that differ in every category."""
    row = evaluated.row("data_overall.csv")
    found = columns(evaluated.accuracies, evaluated.sizes)
    assert {name: f"{100 * value:.2f}%" for name, value in found.items()} == {
        "overall": row["Overall Acc"],
        "non_live_ast": row["Non-Live AST Acc"],
        "live": row["Live Acc"],
        "multi_turn": row["Multi Turn Acc"],
        "relevance": row["Relevance Detection"],
        "irrelevance": row["Irrelevance Detection"],
    }


def test_the_benchmark_has_4441_samples():
    interpreter = official_bfcl.installed(V3)
    (data,) = interpreter.parent.parent.glob("lib/*/site-packages/bfcl_eval/data")
    files = [data / f"BFCL_v3_{category}.json" for category in V3.groups["all"]]
    assert sum(len(file.read_text().splitlines()) for file in files) == 4441


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
        simple, *others = ("simple", "java") if version is V3 else ("simple_python", "simple_java")
        texts = [*harmful, *ODD]
        rows: dict[str, list[tuple[int, Any]]] = {
            category: list(enumerate(texts)) for category in (simple, *others, "irrelevance")
        }
        rows["multi_turn_base"] = [(n, [[text]]) for n, text in enumerate(texts)]
        if version is V4:
            steps = [[[{"seen": text, "said": text}]] for text in texts]
            rows["memory_kv"] = list(enumerate(steps))
            rows["format_sensitivity"] = list(enumerate(texts))
        for form in ("bracket", "json"):
            verdicts = worker.score(form, rows)
            assert len(verdicts) == sum(map(len, rows.values()))
            assert not any(v.valid for v in verdicts if v.category in (simple, "multi_turn_base"))
    assert not owned.exists()


ODD = (
    "[f(x={(1, 2): 3})]",
    "[f(x={b'a': 3})]",
    "[f(x={1j: 2})]",
    f"[f(x={'9' * 3000} * {'9' * 3000})]",
    f'[{{"name": "f", "arguments": {"[" * 940}1{"]" * 940}}}]',
    '[{"name": "f", "arguments": {"x": "\\ud83d"}}]',
    "[f(x='\\ud83d')]",
    f"[{'f(x=' * 90}1{')' * 90}]",
)
"""Answers whose values JSON cannot write, or checkers break at."""


@pytest.mark.parametrize("version", [V3, V4], ids=lambda version: version.name)
def test_what_a_call_gives_is_what_the_package_gives(version: Version):
    """But for calls that are refused, which give the error of an unknown function."""
    told = {
        " power(base=3, exponent=2)": '{"result": 9}',
        "GorillaFileSystem.cd(folder='a')": "name 'GorillaFileSystem' is not defined",
        "get weather()": "invalid syntax (<string>, line 1)",
        "pwd(x=inf)": "name 'inf' is not defined",
        "power(base=99999999999, exponent=99999999999)": "the result is too large",
        "logarithm(value=10, base=2, precision=100000000)": "the result is too large",
        "power(base=2, exponent=10)": '{"result": 1024}',
    }
    with _worker(version) as worker:
        entry = next(
            entry for entry in worker.questions("multi_turn_base")
            if {"pwd", "power"} <= {function["name"] for function in entry.functions}
        )  # fmt: skip
        ((_, results),) = worker.execute([(entry, list(told))])
    said = [result.removeprefix("Error during execution: ") for result in results]
    assert said == list(told.values())


def test_a_worker_that_answers_too_late_is_ended_with_its_processes(monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    official_bfcl.installed(V3)
    with BfclWorker(V3) as worker, pytest.raises(CoalmError, match="no reply within 0 s"):
        for _ in range(100):
            rows = {"simple": [(n, "[f(x=1)]") for n in range(400)]}
            worker.score("bracket", rows)
            monkeypatch.setattr(client, "TIMEOUT", 0.01)


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
        "3*10**8": 300_000_000,
        "5*10**(-12)": 5e-12,
        "2**0.5": 2**0.5,
        "10**9999": None,
        "9**9**9": None,
        "(10**300)**30": None,
        "[1]**2": None,
        "{'a': [2**3]}": {"a": [8]},
        "{**{'a': 1}}": None,
    }

    def computed(text: str) -> Any:
        try:
            return arithmetic.evaluate(text)
        except ValueError:
            return None

    assert {text: computed(text) for text in values} == values


def _worker(version: Version) -> BfclWorker:
    official_bfcl.installed(version)
    return BfclWorker(version)


def test_only_the_samples_own_functions_are_executed(entries, tmp_path):
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
    with BfclWorker(V3) as worker:
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


def expert(entries: dict[str, list[BfclEntry]], form: str) -> Engine:
    """Answers BFCL from its references."""

    def answer(category: str, index: str, *step: str) -> str:
        found = right_answer(entries[category][int(index)], form)
        return found[int(step[0])][int(step[1])] if step else found

    return Engine(answer)


@pytest.mark.parametrize(("style", "form"), [("bfcl", "bracket"), ("coalm", "json")])
def test_the_task_scores_an_expert_and_asks_nothing_twice(entries, tmp_path, style, form):
    engine = expert(entries, form)
    data = {"style": style, "categories": ["simple", "irrelevance"]}
    values, rows = run_task(V3, engine, tmp_path, data, count=20)
    assert (values["category/simple"], values["category/irrelevance"]) == (1.0, 1.0)
    assert (values["num_samples"], values["non_live_exec"], len(engine.asked)) == (
        40,
        "retired",
        40,
    )
    assert "overall" not in values
    assert all(row["correct"] and row["prompt"] and row["failure"] is None for row in rows)
    assert all(re.match(r"[\w.]+\(\w+: \w+", row["offered"]) for row in rows)
    assert "| simple | 20 | 20 | 100.00 |" in (tmp_path / "bfcl_v3.md").read_text()
    engine.asked.clear()
    run_task(V3, engine, tmp_path, data, count=20)
    assert not engine.asked


def test_multi_turn_feeds_results_back(entries, tmp_path):
    engine = expert(entries, "bracket")
    values, rows = run_task(V3, engine, tmp_path, {"categories": ["multi_turn_base"]}, count=12)
    assert (
        values["category/multi_turn_base"] >= 0.75
    )  # some references use arguments without a name
    record = next((tmp_path / "raw").glob("bfcl_v3.*.jsonl")).read_text()
    assert len(engine.asked) == len(record.splitlines()) - 1 > 24
    failed = {row["failure"] for row in rows if not row["correct"]}
    assert failed <= {Failure.WRONG_STATE.value, Failure.OVER_CALLING.value}


def test_a_slow_conversation_holds_no_other(entries, tmp_path):
    """One answer comes once all other conversations have ended. In lockstep it would never come."""
    by_text = {entry.turns[0][-1]["content"]: entry for entry in entries["multi_turn_base"]}
    asked: Counter[str] = Counter()

    def ended(entry: BfclEntry) -> bool:
        return asked[entry.id] == len(entry.turns)

    def respond(request: Request) -> Reply:
        said = [m["content"] for m in request.json["messages"] if m["role"] == "user"]
        entry = next(by_text[text] for text in said if text in by_text)
        asked[entry.id] += 1
        others = [other for other in by_text.values() if other.id in asked and other != entry]
        is_slow = not others and asked[entry.id] == 1  # the first that is asked
        if not is_slow:
            return completion("No.")
        return replace(
            completion("No."),
            until=lambda: (
                len(asked) == 4
                and all(ended(e) for e in by_text.values() if e.id in asked and e != entry)
            ),
        )

    with ChatServer(respond) as server:
        url = f"{server.url}/chat/completions"
        remote = RemoteParams(api_url=url, num_workers=4, max_retries=0, connection_timeout=60)
        data = {"categories": ["multi_turn_base"]}

        def evaluate() -> Any:
            engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
            return run_task(V3, engine, tmp_path, data, count=4)

        first = evaluate()
        count = len(server.requests)
        assert count == sum(asked.values())
        assert evaluate() == first and len(server.requests) == count


def test_a_model_that_calls_for_ever_is_stopped(entries, tmp_path):
    engine = Engine(lambda *key: "[pwd()]")
    _, (row,) = run_task(V3, engine, tmp_path, {"categories": ["multi_turn_base"]}, count=1)
    turns = json.loads(row["response"])
    assert [len(turn) for turn in turns] == [21]  # MAXIMUM_STEP_LIMIT of bfcl-eval, and one more
    assert row["failure"] == "over-calling" and "force-terminated" in row["reason"]


def test_bad_options(tmp_path):
    for data, message in (
        (
            {"style": "poem"},
            "style: input should be 'official', 'bfcl', 'coalm' or 'native', found 'poem'",
        ),
        ({"style": "native"}, "takes none; use VLLM or a remote engine"),
        ({"categories": ["exec_simple"]}, "BFCL V3 has no category 'exec_simple'"),
        ({"categories": "exec_simple"}, "categories: expected a list, not one text"),
        (
            {"category": ["simple"]},
            r"eval_kwargs\.data: unknown key `category`; the keys are other_base, style, model, categories",
        ),
    ):
        with pytest.raises(CoalmError, match=message):
            run_task(V3, None, tmp_path, data)
