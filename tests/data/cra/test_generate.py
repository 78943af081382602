import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra.generate import GenerateConfig, Generation, read_turns
from coalm_oumi.data.cra.transcript import TranscriptError
from coalm_oumi.data.sources import domain_of, open_source
from coalm_oumi.data.sources import read as read_samples
from coalm_oumi.llm.chat import BudgetError, ChatError
from tests.conftest import REPO
from tests.support import PATIENCE
from tests.support.chat_server import BatchApi, ChatServer, Reply, Request, completion, failure

SAMPLES = REPO / "coalm_oumi/data/samples"
SGD = SAMPLES / "sgd"
DIALOGUES = len(json.loads((SGD / "dialogues_001.json").read_text()))


def said(prompt: str) -> list[str]:
    return re.findall(r"^User: (.+)$", prompt.split("# User Input:")[1], re.MULTILINE)


def obedient(prompt: str) -> str:
    """What a model writes that does as Table 6 says."""
    return "\n\n".join(
        f"User: {text}\nThought: No API is needed.\nSystem: I heard you." for text in said(prompt)
    )


def well(request: Request, delay: float = 0.0) -> Reply:
    return completion(obedient(request.json["messages"][0]["content"]), delay=delay)


def config(server: ChatServer | None, folder: Path, **changes) -> GenerateConfig:
    url = server.url if server else "http://127.0.0.1:9/v1"
    return GenerateConfig(
        path="samples:sgd",
        output_dir=str(folder),
        endpoint={"model": "m", "base_url": url, "concurrency": 4, "retries": 0}
        | changes.pop("endpoint", {}),
        sampling={"temperature": 0.5, "max_tokens": 100} | changes.pop("sampling", {}),
        **changes,
    )


def generate(configuration: GenerateConfig, **options) -> dict:
    with Generation(configuration) as generation:
        try:
            asyncio.run(generation.run(**options))
        finally:
            summary = generation.write()
    return dict(summary)


def lines(file: Path) -> list:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_is_generated_is_what_the_sgd_source_reads(tmp_path: Path):
    with ChatServer(well) as server:
        summary = generate(config(server, tmp_path))
    assert summary["transcripts"] == DIALOGUES - len(summary["rejected"])
    assert summary["failed"] == summary["unanswered"] == 0
    options = {"transcripts": tmp_path / "transcripts.jsonl"}
    items = read_samples(open_source("sgd", SGD, options))
    samples = [item for item in items if isinstance(item, Sample)]
    assert {sample.output for sample in samples} == {"System: I heard you."}
    assert len({s.dialogue_id for s in samples}) == summary["transcripts"]
    assert domain_of("sgd", {}) == "cra"


def test_the_prompt_is_table_6(tmp_path: Path):
    with ChatServer(well) as server:
        generate(config(server, tmp_path, limit=1, functions="dialogue"))
    body = server.requests[0].json
    assert body["temperature"] == 0.5 and body["max_tokens"] == 100
    prompt = body["messages"][0]["content"]
    assert prompt.startswith("You are an advanced AI assistant")
    assert re.search(r"^1\. \w+\(\w+", prompt, re.MULTILINE)
    assert "[API Call Name: " in prompt


def test_a_second_run_asks_only_for_what_is_missing(tmp_path: Path):
    refused = Counter()

    def moody(request: Request) -> Reply:
        key = request.headers["x-client-request-id"]
        refused[key] += 1
        return failure(400) if len(refused) % 3 == 0 and refused[key] == 1 else well(request)

    with ChatServer(moody) as server:
        first = generate(config(server, tmp_path))
        assert first["unanswered"] > 0
        assert {record["reason"] for record in lines(tmp_path / "failed.jsonl")} == {
            f"m at {server.url}: Error code: 400 - scripted"
        }
        second = generate(config(server, tmp_path))
    assert second["unanswered"] == 0
    assert len(server.requests) == DIALOGUES - len(second["rejected"]) + first["unanswered"]
    # The ids are the same in every run.
    assert sum(count == 2 for count in refused.values()) == first["unanswered"]


def test_unreadable_answers_are_kept_and_can_be_asked_for_again(tmp_path: Path):
    def poor(request: Request) -> Reply:
        cut = len(server.requests) % 2
        return completion("Sorry!" if cut else "User: a", finish_reason="length" if cut else "stop")

    with ChatServer(poor) as server:
        summary = generate(config(server, tmp_path))
    assert summary["transcripts"] == 0
    failed = lines(tmp_path / "failed.jsonl")
    assert {record["text"] for record in failed} == {"Sorry!", "User: a"}
    assert any("raise max_tokens" in record["reason"] for record in failed)
    with ChatServer(well) as server:
        assert generate(config(server, tmp_path))["transcripts"] == 0
        assert not server.requests
        longer = config(server, tmp_path, sampling={"max_tokens": 200})
        assert generate(longer, retry_failed=True)["failed"] == 0
        keys = {request.headers["x-client-request-id"] for request in server.requests}
    assert keys and all(key.endswith("-1") for key in keys)


def test_a_journal_of_another_model_is_not_continued(tmp_path: Path):
    with ChatServer(well) as server:
        generate(config(server, tmp_path, limit=1))
        with pytest.raises(CoalmError, match="move the file away"):
            generate(config(server, tmp_path, endpoint={"model": "other"}))


PRICED = {"usd_per_million_input": 1.0, "usd_per_million_output": 1.0, "concurrency": 2}


def costly(request: Request) -> Reply:
    text = obedient(request.json["messages"][0]["content"])
    return completion(text, input_tokens=1000, output_tokens=100)


def test_the_budget_holds_over_runs(tmp_path: Path):
    with ChatServer(costly) as server:
        for budget in (0.012, 0.02, 0.02):
            before = len(server.requests)
            with pytest.raises(BudgetError, match=r"stopped at \$0\.0"):
                generate(config(server, tmp_path, endpoint=PRICED), max_usd=budget)
            summary = json.loads((tmp_path / "summary.json").read_text())
            assert summary["usd"] == pytest.approx(len(server.requests) * 0.0011)
            assert summary["usd"] <= budget
        assert len(server.requests) == before
        assert before > 3


def test_a_dead_server_ends_the_run_early(tmp_path: Path):
    with ChatServer(lambda _: failure(401)) as server:
        with pytest.raises(ChatError, match="OPENAI_API_KEY right"):
            generate(config(server, tmp_path))
        assert len(server.requests) < DIALOGUES
    assert json.loads((tmp_path / "summary.json").read_text())["answers"] == 0


def test_the_estimate_comes_before_the_first_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = str(REPO / "recipes/cra/gpt4o.yaml")
    changes = ["path=samples:sgd", f"output_dir={tmp_path}", "endpoint.base_url=http://127.0.0.1:9"]
    assert main(["cra", "generate", "-c", recipe, "--dry-run", *changes]) == 0
    plain = capsys.readouterr().out
    changes.append("sampling.temperature=0.1")  # nothing was asked, so this may still change
    assert main(["cra", "generate", "-c", recipe, "--dry-run", "--batch", *changes]) == 0
    half = capsys.readouterr().out
    price = r"about \$([\d.]+), about [\d,]+ tokens in and [\d,]+ out, by 4 bytes"
    found = [re.search(price, text) for text in (plain, half)]
    assert found[0] and found[1]
    assert 0 < float(found[1][1]) == pytest.approx(float(found[0][1]) / 2, abs=0.006)


def test_an_estimate_learns_from_the_answers(tmp_path: Path):
    with ChatServer(well) as server:
        generate(config(server, tmp_path, limit=4, endpoint=PRICED))
        with Generation(config(server, tmp_path, endpoint=PRICED)) as generation:
            estimate = generation.estimate(retry_failed=False, batch=False)
    assert estimate.basis == "the 4 answers so far"
    assert estimate.usage.input_tokens == pytest.approx(10 * estimate.requests, rel=0.2)


def test_several_dialogues_in_one_answer():
    turn = "User: {}\nThought: b\nSystem: c\n"
    one, two = turn.format("one"), turn.format("two")
    text = f"Dialogue 1:\n{one}\nDialogue 2:\n{two}"
    assert [t.user for t in read_turns(text, "stop", ["one", "two"])] == ["one", "two"]
    text = f"Dialogue 1:\n{one}{two}\nDialogue 2:\n{one}"
    assert [t.user for t in read_turns(text, "stop", ["one", "two"])] == ["one", "two"]
    with pytest.raises(TranscriptError, match="raise max_tokens"):
        read_turns(text, "length", ["one"])
    assert read_turns(one, "stop", ["\u201cOne!\u201d", "two"])
    with pytest.raises(TranscriptError, match="another dialogue"):
        read_turns(text, "stop", ["three", "four"])


def command(server: ChatServer, folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "coalm_oumi", "cra", "generate", "-c",
        str(REPO / "recipes/cra/local.yaml"), "path=samples:sgd", f"output_dir={folder}",
        f"endpoint.base_url={server.url}", "endpoint.concurrency=2", *more,
    ]  # fmt: skip


def killed_until_done(
    make: Callable[[], list[str]], folder: Path, server: ChatServer, kills: int, answered: str
) -> None:
    for _ in range(kills):
        before = len(server.requests)
        process = subprocess.Popen(make(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while len(server.requests) < before + 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(make(), check=True, capture_output=True)
    assert answered in (folder / "summary.json").read_text()


def test_kill_at_any_moment_loses_no_answer_and_asks_for_none_twice(tmp_path: Path):
    with ChatServer(lambda request: well(request, delay=0.03)) as server:
        killed_until_done(lambda: command(server, tmp_path), tmp_path, server, 2, '"unanswered": 0')
        asked = Counter(request.headers["x-client-request-id"] for request in server.requests)
    total = DIALOGUES - len(json.loads((tmp_path / "summary.json").read_text())["rejected"])
    assert len(asked) == total
    # Only what was on its way when the process died is asked for again: two requests a kill.
    assert sum(asked.values()) - total <= 2 * 2


def total(folder: Path) -> int:
    return DIALOGUES - len(json.loads((folder / "summary.json").read_text())["rejected"])


BATCH = {"batch": True, "poll_seconds": 0.01}


def test_a_batch_costs_half(tmp_path: Path):
    api = BatchApi(well, polls=2)
    with ChatServer(api) as server:
        summary = generate(config(server, tmp_path, endpoint=PRICED), **BATCH)
    assert summary["transcripts"] == total(tmp_path)
    assert summary["usd"] == pytest.approx(summary["transcripts"] * 15e-6 / 2)
    assert len(api.batches) == 1
    (batch,) = api.batches.values()
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")


def test_batches_keep_to_the_budget(tmp_path: Path):
    api = BatchApi(costly)
    with ChatServer(api) as server, pytest.raises(BudgetError):
        generate(config(server, tmp_path, endpoint=PRICED), max_usd=0.01, **BATCH)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["transcripts"] == sum(api.answered.values()) > 0
    assert len(api.batches) > 1  # what one batch left of its worst case, the next one uses
    assert summary["usd"] <= 0.01


def test_what_a_batch_did_not_answer_is_asked_for_in_the_next_run(tmp_path: Path):
    seen = Counter()

    def moody(request: Request) -> Reply:
        prompt = request.json["messages"][0]["content"]
        seen[prompt] += 1
        return failure(500) if len(seen) % 3 == 0 and seen[prompt] == 1 else well(request)

    api = BatchApi(moody)
    api.status = "expired"
    with ChatServer(api) as server:
        first = generate(config(server, tmp_path), **BATCH)
        second = generate(config(server, tmp_path), **BATCH)
    assert first["unanswered"] > 0 == second["unanswered"]
    assert set(api.answered.values()) == {1}


def test_a_batch_that_answered_nothing_is_not_taken_for_its_retry(tmp_path: Path):
    refused = iter([failure(400)] * DIALOGUES)
    api = BatchApi(lambda request: next(refused) if len(api.batches) == 1 else well(request))
    with ChatServer(api) as server:
        first = generate(config(server, tmp_path, limit=3), **BATCH)
        second = generate(config(server, tmp_path, limit=3), **BATCH)
    assert (first["unanswered"], second["unanswered"], len(api.batches)) == (3, 0, 2)


def test_a_batch_whose_answer_was_lost_is_found_again(tmp_path: Path):
    api = BatchApi(well)
    api.lose_next_answer = True
    with ChatServer(api) as server:
        generate(config(server, tmp_path, endpoint={"retries": 1}), **BATCH)
    assert set(api.answered.values()) == {1}


def test_a_failed_batch_says_why(tmp_path: Path):
    api = BatchApi(well)
    api.status = "failed"
    with ChatServer(api) as server, pytest.raises(ChatError, match="batch_0 failed"):
        generate(config(server, tmp_path), **BATCH)
    api.status = "completed"
    with ChatServer(api) as server:  # the next run does not wait for it again
        assert generate(config(server, tmp_path), **BATCH)["unanswered"] == 0


def test_a_batch_under_way_is_not_asked_for_at_full_price(tmp_path: Path):
    api = BatchApi(well, polls=10**6)
    with ChatServer(api) as server:
        process = subprocess.Popen(
            command(server, tmp_path, "--batch", "--poll", "0.05"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not any(batch["polls"] for batch in api.batches.values()):
            time.sleep(0.02)
        process.kill()
        process.wait()
        changes = ["path=samples:sgd", f"output_dir={tmp_path}", f"endpoint.base_url={server.url}"]
        changes.append("endpoint.concurrency=8")
        options = ["cra", "generate", "-c", str(REPO / "recipes/cra/local.yaml")]
        assert main([*options, *changes]) == 1
        assert len([r for r in server.requests if r.path == "/v1/chat/completions"]) == 0
    assert not api.answered


def test_kill_at_any_moment_pays_for_no_batch_twice(tmp_path: Path):
    api = BatchApi(well, polls=8)
    with ChatServer(api) as server:
        killed_until_done(
            lambda: command(server, tmp_path, "--batch", "--poll", "0.05"),
            tmp_path, server, 3, '"unanswered": 0',
        )  # fmt: skip
    assert len(api.batches) == 1
    assert set(api.answered.values()) == {1}


@contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[str]:
    """Transformers' own OpenAI-compatible server, with a real model, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    with log.open("w") as stream:
        server = subprocess.Popen(
            [str(program), "serve", str(model), "--host", "127.0.0.1", "--port", str(port),
             "--device", "cpu", "--dtype", "float32"],
            stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.e2e
def test_a_real_model_from_the_prompt_to_the_mixture(tiny_model: Path, tmp_path: Path):
    """A random model does not keep to the format: what it writes is real noise."""
    output = tmp_path / "cra"
    with transformers_serve(tiny_model, tmp_path / "server.log") as url:
        assert main(["cra", "generate", "-c", str(REPO / "recipes/cra/local.yaml"),
                     "path=samples:sgd", f"output_dir={output}", "limit=1",
                     f"endpoint.base_url={url}", f"endpoint.model={tiny_model}",
                     "sampling.max_tokens=8", "sampling.temperature=0.1"]) in (0, 1, 2)  # fmt: skip
    summary = json.loads((output / "summary.json").read_text())
    assert summary["answers"] == 1 and summary["unanswered"] == 0
    assert summary["input_tokens"] > 500 and 0 < summary["output_tokens"] <= 8
    answers = [record["record"] for record in lines(output / "answers.jsonl")[1:]]
    assert all(record["text"].strip() for record in answers)
    assert {r["dialogue_id"] for r in lines(output / "failed.jsonl")} | {
        r["dialogue_id"] for r in lines(output / "transcripts.jsonl")
    } == {record["dialogue_id"] for record in answers}
    # What it wrote goes through the validation as it is, and what can be read into the mixture.
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(record) + "\n" for record in answers))
    assert main(["cra", "validate", str(raw), "--sgd", str(SGD)]) == 0
    verdicts = lines(tmp_path / "validation/validation.jsonl")
    assert {verdict["dialogue_id"] for verdict in verdicts} == {r["dialogue_id"] for r in answers}
    assert main(["build", "-c", str(REPO / "recipes/data/demo.yaml"),
                 f"sources.sgd.options.transcripts={output / 'transcripts.jsonl'}",
                 f"output_dir={tmp_path / 'mixture'}"]) == 0  # fmt: skip


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A split of SGD with one dialogue 200 times."""
    sgd = tmp_path / "sgd"
    sgd.mkdir()
    shutil.copyfile(SGD / "schema.json", sgd / "schema.json")
    (first, *_) = json.loads((SGD / "dialogues_001.json").read_text())
    copies = [first | {"dialogue_id": f"1_{number:05}"} for number in range(200)]
    (sgd / "dialogues_001.json").write_text(json.dumps(copies))
    return sgd


def test_batches_whose_answers_cannot_be_read_stop_early(tmp_path: Path, many: Path):
    api = BatchApi(lambda _: completion("Sorry!"))
    with ChatServer(api) as server:
        configuration = config(server, tmp_path / "out").model_copy(update={"path": str(many)})
        with pytest.raises(CoalmError, match="none of 100 answers of m can be read, the first: "):
            generate(configuration, **BATCH)
    assert sum(api.answered.values()) == 100
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["failed"], summary["unanswered"]) == (100, 100)


def test_a_run_whose_answers_cannot_be_read_stops_early(
    tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = str(REPO / "recipes/cra/local.yaml")
    with ChatServer(lambda _: completion("Sorry!")) as server:
        changes = [
            f"path={many}",
            f"output_dir={tmp_path / 'out'}",
            f"endpoint.base_url={server.url}",
            "endpoint.concurrency=8",
        ]
        assert main(["cra", "generate", "-c", recipe, *changes]) == 1
        asked = len(server.requests)
        assert asked < 100
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: none of ") and "can be read, the first: " in error

        few = [f"output_dir={tmp_path / 'few'}", "limit=3"]
        assert main(["cra", "generate", "-c", recipe, *changes, *few]) == 1
        assert len(server.requests) == asked + 3
        assert "no answer can be read" in capsys.readouterr().err
