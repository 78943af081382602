import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.bfcl import environment, run, verdicts
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.execution import ExecutedStep, Executor
from coalm_oumi.evaluation.bfcl.v4 import V4, columns
from coalm_oumi.files.journal import Journal
from tests.support import PATIENCE, official_bfcl
from tests.support.damage import answers_of_all_qualities, right_answer
from tests.support.official_bfcl import Engine, Officially, run_task

CATEGORIES = ("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "irrelevance",
    "live_relevance", "multi_turn_miss_func",
    "web_search_base", "memory_kv", "memory_rec_sum", "format_sensitivity")  # fmt: skip
"""Enough to meet every runner of the package."""


@pytest.fixture(scope="session")
def entries() -> dict[str, list[BfclEntry]]:
    return official_bfcl.questions(V4, CATEGORIES)


@pytest.fixture(scope="session")
def asked(entries) -> dict[str, dict[str, list[Any]]]:
    """Right and damaged answers, by style and category."""
    asked: dict[str, dict[str, list[Any]]] = {"bfcl": {}, "coalm": {}}
    for number, category in enumerate(CATEGORIES):
        for style, form in (("bfcl", "bracket"), ("coalm", "json")):
            if form == "json" and category.startswith(("multi_turn", "format")):
                continue  # references are in brackets, and the prompt is BFCL's own
            asked[style][category] = answers_of_all_qualities(entries[category], form, number)
    return asked


@pytest.fixture(scope="session")
def answered(entries, asked) -> dict[str, official_bfcl.Answered]:
    """The same with their samples."""
    answered = official_bfcl.paired(entries, asked)
    native = ("memory_kv", "web_search_base", "multiple")
    answered["native"] = [pair for pair in answered["coalm"] if pair[0].category in native]
    return answered


@pytest.fixture(scope="session")
def evaluated(answered, tmp_path_factory) -> Officially:
    """What one run of `bfcl evaluate` says of all of them."""
    return official_bfcl.evaluate(V4, tmp_path_factory.mktemp("bfcl_v4"), answered, CATEGORIES)


@pytest.fixture(scope="session")
def judged(answered) -> dict[str, list[verdicts.Judged]]:
    """What we say of them."""
    return {
        name: verdicts.judge(V4, styles.STYLES[name], *map(list, zip(*pairs, strict=True)))
        for name, pairs in answered.items()
    }


@pytest.mark.parametrize("name", ["bfcl", "coalm", "native"])
def test_every_verdict_is_that_of_bfcl_evaluate(judged, evaluated, name):
    assert all((j.failure is None) == j.verdict.valid for j in judged[name])
    for category in {j.entry.category for j in judged[name]}:
        ours = [j for j in judged[name] if j.entry.category == category]
        wrong = Counter(j.entry.id for j in ours if not j.verdict.valid)
        assert wrong == evaluated.wrong(name, category), category
        assert 0 < wrong.total() < len(ours), category


def test_columns_are_those_of_the_leaderboard(evaluated):
    """From accuracies that differ in every category."""
    row = evaluated.row("data_overall.csv")
    found = columns(evaluated.accuracies, evaluated.sizes)
    agentic = f"{100 * found.pop('agentic'):.2f}%"
    assert agentic == evaluated.row("data_agentic.csv")["Agentic Overall Acc"]
    assert {name: f"{100 * value:.2f}%" for name, value in found.items()} == {
        "overall": row["Overall Acc"],
        "non_live_ast": row["Non-Live AST Acc"],
        "live": row["Live Acc"],
        "multi_turn": row["Multi Turn Acc"],
        "web_search": row["Web Search Acc"],
        "memory": row["Memory Acc"],
        "relevance": row["Relevance Detection"],
        "irrelevance": row["Irrelevance Detection"],
    }


def test_forms_of_the_prompt_are_compared_as_the_leaderboard_does(judged, evaluated):
    found = columns(verdicts.accuracies(judged["bfcl"]), {})
    header, *_ = evaluated.scored("bfcl", "format_sensitivity")
    assert round(100 * found["format_max_delta"], 2) == header["accuracy_max_delta"] > 0
    assert round(100 * found["format_std"], 2) == header["accuracy_std"]


def test_a_column_with_a_category_missing_is_left_out():
    accuracies = dict.fromkeys(V4.groups["all_scoring"], 1.0)
    sizes = dict.fromkeys(accuracies, 10)
    assert columns(accuracies, sizes)["overall"] == pytest.approx(1.0)
    del accuracies["memory_vector"]
    assert not {"overall", "agentic", "memory"} & set(columns(accuracies, sizes))


def test_what_was_told_is_remembered(entries, tmp_path):
    """Each conversation adds a fact; the next ones see it, those of other people do not."""

    def answer(category, index, turn=None, step=None):
        if category.endswith("_prereq"):
            return f"[memory_append(text='fact {index}. ')]" if turn == step == "0" else "Noted."
        (expected, *_) = entries[category][int(index)].expected
        return f"{{'answer': {expected!r}, 'context': ''}}"

    engine = Engine(answer)
    data = {"categories": ["memory_rec_sum"]}
    values, rows = run_task(V4, engine, tmp_path, data)
    assert (values["category/memory_rec_sum"], values["num_samples"]) == (1.0, 155)
    assert all(row["correct"] and row["failure"] is None for row in rows)
    with BfclWorker(V4) as worker:
        told = worker.questions("memory_rec_sum_prereq")
    for entry in told:
        before = [e.index for e in told if e.scenario == entry.scenario and e.index < entry.index]
        prompt = engine.asked[f"memory_rec_sum_prereq/{entry.index}/0/0"]
        assert [n for n in range(len(told)) if f"fact {n}. " in prompt] == before
    question = entries["memory_rec_sum"][0]
    prompt = engine.asked["memory_rec_sum/0/0/0"]
    facts = [e.index for e in told if e.scenario == question.scenario]
    assert [n for n in range(len(told)) if f"fact {n}. " in prompt] == facts
    written = tmp_path / "bfcl/result/uiuc-convai_CoALM-8B/agentic/memory/rec_sum"
    lines = (written / "BFCL_v4_memory_rec_sum_prereq_result.json").read_text().splitlines()
    assert len(lines) == len(told)
    engine.asked.clear()
    assert run_task(V4, engine, tmp_path, data)[0]["category/memory_rec_sum"] == 1.0
    assert not engine.asked, "a second run asks nothing"


def test_a_choice_holds_only_the_conversations_that_it_needs(entries, tmp_path):
    engine = Engine(lambda *key: "I do not know.")
    values, rows = run_task(V4, engine, tmp_path, {"categories": ["memory_kv"]}, count=1)
    assert (values["num_samples"], values["category/memory_kv"]) == (1, 0.0)
    assert rows[0]["failure"] == "wrong answer"
    chosen = next(e for e in entries["memory_kv"] if e.id == rows[0]["dialogue_id"])
    with BfclWorker(V4) as worker:
        told = worker.questions("memory_kv_prereq")
    expected = {e.index for e in told if e.scenario == chosen.scenario}
    assert {int(key.split("/")[1]) for key in engine.asked if "prereq" in key} == expected


@contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_web_is_public_and_what_it_gave_is_recorded(entries, tmp_path, monkeypatch, no_proxy):
    """A page of this very machine is no page for a model to read."""
    monkeypatch.setenv(environment.SEARCH_KEY, "secret-key")
    visits: list[str] = []
    with http_server(lambda handler: visits.append(handler.path)) as address:
        engine = Engine(
            lambda category, index, turn, step: (
                f"[fetch_url_content(url='{address}/secret-key')]" if step == "0" else "Who knows."
            )
        )
        data = {"categories": ["web_search_base"]}
        values, rows = run_task(V4, engine, tmp_path, data, count=3)
    assert (values["num_samples"], values["category/web_search_base"], visits) == (3, 0.0, [])
    assert {row["failure"] for row in rows} == {"wrong answer"}
    (file,) = (tmp_path / "raw").glob("bfcl_v4.web.*.jsonl")
    _, *records = map(json.loads, file.read_text().splitlines())
    assert len(records) == 3
    fetched = records[0]["record"]
    assert "127.0.0.1 is not an address of the public internet" in fetched
    assert "secret-key" not in fetched, "an error shows the address, and the key of a search in it"
    told = next(text for key, text in engine.asked.items() if key.endswith("/0/1"))
    assert "not an address of the public internet" in told
    before = file.read_bytes()
    run_task(V4, engine, tmp_path, data, count=3)
    assert file.read_bytes() == before


def searching(category: str, index: str, turn: str, step: str) -> str:
    return "[search_engine_query(keywords='tea')]" if step == "0" else "I do not know."


def test_searches_that_fail_are_told_and_tried_again(
    entries, tmp_path, monkeypatch, no_proxy, caplog
):
    """The search engine is behind a proxy here that refuses it."""
    monkeypatch.setenv(environment.SEARCH_KEY, "secret-key")
    visits: list[str] = []

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        visits.append(handler.path)
        handler.send_error(403)

    with http_server(refuse) as address:
        monkeypatch.setenv("https_proxy", address)
        engine = Engine(searching)
        data = {"categories": ["web_search_base"]}
        values, _ = run_task(V4, engine, tmp_path, data, count=2)
        assert values["num_samples"] == 2
        assert "2 of 2 web searches failed" in caplog.text
        assert "secret-key" not in caplog.text + "".join(engine.asked.values())
        (file,) = (tmp_path / "raw").glob("bfcl_v4.web.*.jsonl")
        assert len(file.read_text().splitlines()) == 1, "nothing of it is recorded"
        with pytest.raises(CoalmError, match="every web search failed"):
            run_task(V4, Engine(searching), tmp_path, data, count=8)


def test_searches_that_go_on_failing_do_not_stop_a_run_that_has_found_something(entries, tmp_path):
    class Web:
        """Finds something for the first question only."""

        def execute(self, steps: Any) -> Any:
            for place, (_, (call,)) in enumerate(steps):
                yield place, ["[]" if "'0'" in call else '{"error": "nothing"}']

    def step(n: int) -> ExecutedStep:
        return ExecutedStep(
            str(n), entries["web_search_base"][n], [f"search_engine_query(keywords='{n}')"]
        )

    steps = [step(n) for n in range(6)]
    worker: Any = Web()
    for _ in range(2):  # the second finds the first one recorded, and the others fail again
        with Journal(tmp_path / "web.jsonl", made_by="test") as journal:
            results = Executor(worker, journal)(steps)
        assert results == [["[]"]] + [['{"error": "nothing"}']] * 5
    with pytest.raises(CoalmError, match="every web search failed"):
        Executor(worker, Journal(tmp_path / "other.jsonl", made_by="test"))(steps[1:])


ADDRESSES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import web
print(json.dumps([web.is_public(host) for host in sys.argv[2:]]))
"""


def test_addresses_that_are_on_the_public_internet():
    official = official_bfcl.installed(V4)
    folder = Path(run.__file__).with_name("worker")
    public = ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"]
    private = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "::ffff:0:7f00:1", "2002:7f00:1::", "localhost", "100.64.0.1"]  # fmt: skip
    command = [official, "-I", "-c", ADDRESSES, folder, *public, *private]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said == [True] * len(public) + [False] * len(private)


FETCH = """
import os
import sys
import time
sys.path.insert(0, sys.argv[1])
import v4, web
web.MAX_SECONDS, web.MAX_BYTES = 2.0, 100_000
web.is_public = lambda host: host == "127.0.0.1"  # this machine stands for the internet
entry = v4.entries("web_search_base")[0]
os.dup2(2, 1)  # the package prints as it goes
for address in sys.argv[2:]:
    start = time.monotonic()
    said = v4.execute(entry, f"fetch_url_content(url='{address}', mode='markdown')")
    print("SAID", time.monotonic() - start < 6, said[:300], file=sys.stderr)
"""


def test_a_page_is_read_so_far_and_followed_to_public_addresses_only(no_proxy, tmp_path):
    official = official_bfcl.installed(V4)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/away":
            handler.send_response(302)
            handler.send_header("Location", "http://127.0.0.2:1/")
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.end_headers()
        pages = {"/page": [b"<b>tea</b>"], "/long": [b"x" * 1000] * 200, "/odd": [b"<a " * 20_000]}
        for part in pages.get(handler.path, [b"x"] * 40):
            handler.wfile.write(part)
            time.sleep(0.2 if handler.path == "/slow" else 0)

    folder = Path(run.__file__).with_name("worker")
    # A list of hosts without a proxy is no proxy: one of these is no place to go to.
    environ = environment.variables(tmp_path) | {"no_proxy": "localhost,127.0.0.2,::1"}
    with http_server(answer) as address:
        pages = [f"{address}{path}" for path in ("/page", "/long", "/slow", "/odd", "/away")]
        done = subprocess.run(
            [official, "-I", "-c", FETCH, folder, *pages],
            capture_output=True,
            text=True,
            check=True,
            env=environ,
        )
    found = [line for line in done.stderr.splitlines() if line.startswith("SAID")]
    page, long, slow, odd, away = found
    assert page == 'SAID True {"content": "**tea**\\n\\n"}'
    assert long.startswith("SAID True") and "more than 100,000 bytes" in long
    assert slow.startswith("SAID True") and odd.startswith("SAID True")
    assert "timed out" in slow and "not done within 2 s" in odd
    assert "127.0.0.2 is not an address of the public internet" in away


JUDGE = """
import importlib.util
import json
import os
import sys
folder, release, *questions = sys.argv[1:]
sys.path.insert(0, folder)
sys.argv[1:] = ["v4", release]
spec = importlib.util.spec_from_file_location("worker", f"{folder}/__main__.py")
sys.modules["worker"] = worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.MAX_SECONDS = 1.0
judge = worker.package.judge

def crash_at_crash(*arguments):
    return os.abort() if arguments[4] == "crash" else judge(*arguments)

worker.package.judge = crash_at_crash
rows = {"format_sensitivity": [json.loads(question) for question in questions]}
found = list(worker.score(without_dots=False, form="bracket", rows=rows))
print(json.dumps([verdict for batch in found for verdict in batch]))
"""


def test_an_answer_that_cannot_be_judged_is_wrong_and_the_others_are_judged(entries):
    """It takes forever, or crashes the process.

    An expression of the package takes twice as long for every call of an unfinished list.
    """
    index, entry = next(
        (n, e) for n, e in enumerate(entries["format_sensitivity"])
        if e.prompt_form.startswith("ret_fmt=json&tool_call_tag=False")
    )  # fmt: skip
    looping = "[" + '{"function": "f", "parameters": {}}, ' * 60
    texts = (looping, "crash", right_answer(entry, "bracket"))
    rows = [json.dumps([index, text]) for text in texts]
    folder = Path(run.__file__).with_name("worker")
    command = [official_bfcl.installed(V4), "-I", "-c", JUDGE, folder, V4.release, *rows]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    verdicts = json.loads(done.stdout.splitlines()[-1])
    assert [verdict["valid"] for verdict in verdicts] == [False, False, True]
    assert verdicts[1]["type"] == "checker:failed" and "crashed" in verdicts[1]["reason"]


def test_a_memory_does_not_grow_without_bound(entries):
    entry = entries["memory_rec_sum"][0]
    calls = ["memory_update(text='aaaaaaaaaa')"]
    calls += [f"memory_replace(old_text='a', new_text='{'a' * 1000}')"] * 3
    calls += ["memory_retrieve()"]
    with BfclWorker(V4) as worker:
        ((_, results),) = worker.execute([(entry, calls)])
    assert results[1:4] == ['{"status": "Memory updated."}'] * 3
    assert len(json.loads(results[4])["memory_content"]) == 100_000


def test_a_choice_of_forms_takes_questions_whole(entries, tmp_path):
    by_place = entries["format_sensitivity"]
    engine = Engine(lambda category, index: right_answer(by_place[int(index)], "bracket"))
    values, rows = run_task(V4, engine, tmp_path, {"categories": ["format_sensitivity"]}, count=3)
    assert values["num_samples"] == 3 * 26
    questions = Counter(row["dialogue_id"].split(":")[2] for row in rows)
    assert list(questions.values()) == [26] * 3
    assert values["category/format_sensitivity"] > 0.8
    assert 0 <= values["format_std"] <= values["format_max_delta"] < 1
    assert "| format_max_delta |" in (tmp_path / "bfcl_v4.md").read_text()


def test_bad_options(tmp_path, monkeypatch):
    monkeypatch.delenv(environment.SEARCH_KEY, raising=False)
    for data, message in (
        ({"categories": ["simple"]}, "BFCL V4 has no category 'simple'"),
        ({"categories": ["all"]}, f"needs the environment variable {environment.SEARCH_KEY}"),
        ({"categories": ["format_sensitivity"], "style": "coalm"}, "set `style: bfcl`"),
        ({"categories": ["memory"], "encoder": "no/where"}, "encoder no/where: no such folder"),
    ):
        with pytest.raises(CoalmError, match=message):
            run_task(V4, None, tmp_path, data)
    style = styles.STYLES["coalm"]
    monkeypatch.setenv(environment.SEARCH_KEY, "key")
    assert run.categories(V4, ["all"], style) == list(V4.groups["all_scoring"])


ENCODER = """
import sys
from transformers import BertConfig, BertModel, BertTokenizerFast
from sentence_transformers import SentenceTransformer, models
folder = sys.argv[1]
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789"]
open(f"{folder}/vocab.txt", "w").write("\\n".join(words))
BertTokenizerFast(f"{folder}/vocab.txt").save_pretrained(folder)
sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
word = models.Transformer(folder)
SentenceTransformer(modules=[word, models.Pooling(32)]).save(f"{folder}/encoder")
"""


def test_a_vector_memory_is_searched_with_an_encoder_from_a_folder(tmp_path):
    official = official_bfcl.installed(V4)
    if not (official.parent.parent / "complete-extras").exists():
        pytest.skip("takes several GB: environment.python(V4, extras=True) installs them")
    subprocess.run([official, "-I", "-c", ENCODER, tmp_path], check=True, capture_output=True)
    tmp = tmp_path / "out"

    def answer(category, index, turn=None, step=None):
        if category.endswith("_prereq"):
            return (
                f"[archival_memory_add(text='fact {index}')]" if turn == step == "0" else "Noted."
            )
        return "[archival_memory_retrieve(query='fact')]" if step == "0" else "I do not know."

    engine = Engine(answer)
    data = {"categories": ["memory_vector"], "encoder": str(tmp_path / "encoder")}
    values, _ = run_task(V4, engine, tmp, data, count=2)
    assert values["category/memory_vector"] == 0.0
    found = [
        text for key, text in engine.asked.items() if key.endswith("/0/1") and "prereq" not in key
    ]
    assert len(found) == 2 and all(
        "fact" in text.split("archival_memory_retrieve")[-1] for text in found
    )


def test_an_encoder_out_of_reach_is_an_error_with_the_mend():
    official_bfcl.installed(V4)
    with (
        BfclWorker(V4) as worker,
        pytest.raises(CoalmError, match=r"NoSuchMemory.*give its folder as eval_kwargs\.data\.enc"),
    ):
        run._check(worker, "memory_vector", "NoSuchMemory")


def test_an_encoder_out_of_reach_is_an_error_before_anything_is_asked(tmp_path, monkeypatch):
    official = official_bfcl.installed(V4)
    if not (official.parent.parent / "complete-extras").exists():
        pytest.skip("takes several GB: environment.python(V4, extras=True) installs them")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CoalmError, match=r"give its folder as eval_kwargs\.data\.encoder"):
        run_task(V4, None, tmp_path, {"categories": ["memory_vector"]})
