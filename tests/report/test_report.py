import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files import provenance
from coalm_oumi.report.collect import collect
from coalm_oumi.report.failures import Task
from coalm_oumi.report.figures import smoothed
from coalm_oumi.report.figures.failures import failure_bars
from coalm_oumi.report.page import write
from coalm_oumi.report.runs import warnings


def put(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    log = [{"loss": 2.0 / n, "learning_rate": 1e-4, "step": 5 * n} for n in range(1, 6)]
    put(tmp_path / "train/trainer_state.json", {"log_history": [*log, {"train_runtime": 61.5}]})
    put(tmp_path / "train/checkpoint-5/trainer_state.json", {"log_history": []})
    for model, share, started in (
        ("base", 0.0, "20260101_000000"),
        ("tuned", 0.4, "20260102_000000"),
        ("tuned", 0.1, "20260101_000000"),
    ):
        # The later run is in the folder that sorts first.
        folder = tmp_path / f"eval/{model}/custom_{9 - 10 * share:.0f}"
        values = {"joint_goal_accuracy": share, "readable": 1.0, "num_samples": 50,
                  "answers": "answers/state_tracking.jsonl"}  # fmt: skip
        put(
            folder / "task_result.json",
            {"results": {"coalm-oumi/state_tracking": values}, "start_time": started},
        )
        put(folder / "model_params.json", {"model_name": "small", "adapter_model": None})
        answer = {"input": "User: <b>rate</b> it", "target": "t", "response": model,
                  "correct": model == "tuned", "unreadable": None}  # fmt: skip
        (tmp_path / f"eval/{model}/answers").mkdir(exist_ok=True)
        (tmp_path / f"eval/{model}/answers/state_tracking.jsonl").write_text(json.dumps(answer))
    return tmp_path


def test_the_latest_result_counts(runs: Path):
    found = collect(runs)
    assert {result.model: result.metrics["joint_goal_accuracy"] for result in found.results} == {
        "base": 0.0, "tuned": 0.4,
    }  # fmt: skip
    (training,) = found.training
    assert training.steps == [5, 10, 15, 20, 25]
    assert training.seconds == 61.5


def test_the_page_stands_alone_and_says_on_how_many_samples(runs: Path):
    page, *files = write([runs])
    for file in files:
        assert file.suffix != ".png" or file.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert text.count("<svg") >= 6 and "<img" not in text
    assert "http://" not in text and "https://" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text)) <= set(ids)
    assert "<td>50</td><td>50</td>" in text
    assert "<b>40.0</b>" in text and "<b>100.0</b>" not in text
    assert "&lt;b&gt;rate&lt;/b&gt;" in text, "model text is escaped"
    assert 'class="wrong"' in text and 'class="right"' in text
    assert text.index("Provenance") < text.index("Not measured")


def test_green_is_kept_for_right_answers():
    figure = failure_bars([Task("coalm-oumi/t", {"base": Counter(format=2)}, [])])
    assert figure is not None and figure.alt == "t, base: format 2"
    bars = re.findall(r"fill: (#\w+)", figure.svg)
    assert bars.index("#d9542b") < bars.index("#2a9461"), "the legend alone shows green"


def test_no_name_and_no_answer_reaches_a_file_with_its_control_characters(runs: Path):
    evil = "\x1b]0;x\x07\x9b2J\r"
    (runs / "eval/tuned").rename(runs / f"eval/tu{evil}ned")
    for file in runs.rglob("*.json*"):
        content = file.read_text()
        file.write_text(
            content.replace("rate", json.dumps(evil)[1:-1]).replace("small", "sm\\u001ball")
        )
    files = write([runs], runs / "page")
    for file in files:
        if file.suffix != ".png":
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", file.read_text()), file
    assert "tu\\x1b]0;x" in (runs / "page/report.md").read_text()


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"results": 3}', b'{"results": {"t": []}}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "a list", "a number", "no metrics", "no UTF-8", "deep"],
)
def test_a_damaged_result_is_left_out_and_named(runs: Path, damage: bytes):
    put(runs / "eval/other/custom_1/model_params.json", {"model_name": "small"})
    file = runs / "eval/other/custom_1/task_result.json"
    file.write_bytes(damage)
    found = collect(runs)
    assert {result.run for result in found.results} == {"base", "tuned"}
    (reason,) = found.damaged
    assert str(file) in reason
    assert warnings(found) == [f"left out, since it cannot be read: {reason}"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "eval/base/answers/state_tracking.jsonl",
            {"input": "", "target": 3, "response": "", "correct": False, "unreadable": None},
            ":1: not an answer of a task: target: Input should be a valid string",
        ),
        ("train/trainer_state.json", {"log_history": 1}, ": log_history: expected a list"),
        ("data/manifest.json", {"samples": {"train": 1}}, ": samples.train: "),
        ("reproduce.jsonl", {"key": "a", "record": {}}, ":1: expected the key `seconds`"),
    ],
)
def test_a_value_of_another_type_is_named(runs: Path, name: str, content: object, said: str):
    put(runs / name, content)
    (reason,) = collect(runs).damaged
    assert reason.startswith(f"{runs / name}{said}")


def test_nothing_but_damaged_results_is_one_clear_error(tmp_path: Path):
    (tmp_path / "task_result.json").write_text("{")
    with pytest.raises(CoalmError, match=r"every run is unreadable: .*task_result\.json"):
        collect(tmp_path)


def test_other_samples_are_said_to_be_other(runs: Path):
    assert "did not answer the same samples" not in write([runs])[0].read_text()
    answers = runs / "eval/base/answers/state_tracking.jsonl"
    answers.write_text(answers.read_text().replace("rate", "play"))
    assert "did not answer the same samples" in write([runs])[0].read_text()


def test_answers_that_differ_come_first(runs: Path):
    for model in ("base", "tuned"):
        file = runs / f"eval/{model}/answers/state_tracking.jsonl"
        row = json.loads(file.read_text())
        same = {**row, "input": "User: both fail", "correct": False}
        file.write_text(f"{json.dumps(same)}\n{json.dumps(row)}\n")
    text = write([runs])[0].read_text()
    assert text.index("&lt;b&gt;rate") < text.index("both fail")


def test_two_demos_under_one_folder_stay_apart(runs: Path, tmp_path_factory):
    both = tmp_path_factory.mktemp("both")
    for name in ("one", "two"):
        shutil.copytree(runs, both / name)
    (both / "one/eval/base/answers/state_tracking.jsonl").unlink()
    models = {result.model for result in collect(both).results}
    assert models == {
        f"{name}/eval/{model}" for name in ("one", "two") for model in ("base", "tuned")
    }
    write([both])


def test_training_without_evaluation(runs: Path, tmp_path: Path):
    for file in runs.rglob("task_result.json"):
        file.unlink()
    page = write([runs])[0]
    assert "25 steps in 62 s" in page.read_text()


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(CoalmError, match=r"neither a trainer_state\.json nor a task_result\.json"):
        write([tmp_path])
    assert not list(tmp_path.iterdir())


def test_smoothing():
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smoothed([0.0, 1.0], weight=0.5) == pytest.approx([0.0, 2 / 3])


def harness_task(folder: Path, accuracy: float) -> None:
    """What Oumi keeps of a task of LM Evaluation Harness: MMLU, a group."""
    subjects = {"mmlu_anatomy": 20, "mmlu_virology": 30}
    values = {"acc,none": accuracy, "acc_stderr,none": 0.02, "alias": "mmlu"}
    put(
        folder / "task_result.json",
        {"results": {"mmlu": values, **dict.fromkeys(subjects, values)}, "start_time": "1"},
    )
    put(folder / "task_params.json", {"task_name": "mmlu"})
    sizes = {name: {"original": 100, "effective": count} for name, count in subjects.items()}
    put(folder / "backend_config.json", {"n-samples": sizes, "versions": {"mmlu": 2}})


def test_general_tasks_before_and_after(runs: Path):
    harness_task(runs / "eval/base/lm_harness_1", 0.5)
    harness_task(runs / "eval/tuned/lm_harness_1", 0.4)
    found = [result for result in collect(runs).results if result.task.startswith("mmlu")]
    assert {(r.model, r.metrics["acc"], r.errors["acc"], r.num_samples) for r in found} == {
        ("base", 0.5, 0.02, 50), ("tuned", 0.4, 0.02, 50),
    }  # fmt: skip
    page, *files = write([runs])
    assert runs / "report/forgetting.png" in files
    assert "mmlu, acc, base: 50.0 %; mmlu, acc, tuned: 40.0 %" in page.read_text()
    assert "General skills" in page.read_text()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"made_with": {"prompts": "b"}}, "the prompts differ (a: base; b: tuned)"),
        ({"made_with": {"data": "b"}}, "the data differ (a: base; b: tuned)"),
        ({"made_with": {"samples": "b"}}, "did not answer the same samples (a: base; b: tuned)"),
        (
            {"num_samples": 9},
            "did not answer the same samples (50 samples: base; 9 samples: tuned)",
        ),
        ({"task_version": 2}, "version or style of the task differ (1: base; 2: tuned)"),
        ({"made_with": {"packages": {"oumi": "0.8"}}}, "versions of packages differ"),
        ({}, None),
    ],
)
def test_what_cannot_be_compared(runs: Path, changed: dict, said: str | None):
    same = {"prompts": "a", "data": "a", "samples": "a", "packages": {"oumi": "0.9"}}
    for file in runs.glob("eval/*/custom_*/task_result.json"):
        record = json.loads(file.read_text())
        (values,) = record["results"].values()
        values |= {"made_with": same, "task_version": 1}
        if "tuned" in str(file):
            values |= {**changed, "made_with": {**same, **changed.get("made_with", {})}}
        put(file, record)
    text = write([runs])[0].read_text()
    assert said in text if said else "Not comparable" not in text


def test_one_label_of_two_models_is_said(runs: Path):
    folder = runs / "eval/tuned/custom_7"
    values = {
        "overall": 0.5,
        "target_loss": 1.25,
        "right_irrelevance": {"no_calls": 7},
        "too_long": {"java": 3},
    }
    put(folder / "task_result.json", {"results": {"coalm-oumi/bfcl_v3": values}})
    put(folder / "model_params.json", {"model_name": "another"})
    text = write([runs])[0].read_text()
    assert "tuned: its tasks were not all of one model, but of another and of small" in text
    assert "<tr><td>right irrelevance: no calls</td><td></td><td>7</td></tr>" in text
    markdown = (runs / "report.md").read_text()
    assert "| too long: java |  | 3 |" in markdown
    assert "| target loss, nats per token |  | 1.250 |" in markdown


def test_trained_on_different_mixtures(runs: Path):
    for name, data in (("train", "a"), ("ablation", "b")):
        put(runs / name / "trainer_state.json", {"log_history": []})
        (runs / name / "logs").mkdir()
        line = f"[2026][oumi] {provenance.MARK}{json.dumps({'data': data})}\n"
        (runs / name / "logs/rank_0000.log").write_text(f"something else\n{line}")
    text = write([runs])[0].read_text()
    assert "trained on different mixtures (b: ablation; a: train)" in text


def test_several_folders_become_one_report(runs: Path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.move(runs / "eval/base", other / "eval/base")
    page = write([runs, other], runs / "both")[0]
    assert page == runs / "both/report.html"
    assert "<th>base</th><th>tuned</th>" in page.read_text()


def test_markdown_has_every_table_and_picture(runs: Path):
    text = (runs / "report.md").read_text() if write([runs]) else ""
    for picture in re.findall(r"\]\((report/[^)]+)\)", text):
        assert (runs / picture).is_file()
    assert [f"## Table {number}:" in text for number in range(1, 6)] == [True] * 5
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
