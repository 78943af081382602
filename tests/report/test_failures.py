import json
from pathlib import Path

import pytest

from coalm_oumi.cli.app import main


def put(folder: Path, model: str, records: list[dict]) -> None:
    file = folder / model / "answers" / "bfcl_v3.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    values = {"overall": 0.5, "num_samples": len(records), "answers": "answers/bfcl_v3.jsonl"}
    result = folder / model / "custom_1" / "task_result.json"
    result.parent.mkdir()
    result.write_text(json.dumps({"results": {"coalm-oumi/bfcl_v3": values}, "start_time": "1"}))


def answer(sample: str, response: str, failure: str | None) -> dict:
    return {"dialogue_id": sample, "input": f"asked in {sample}", "target": "[f()]",
            "offered": f"f(n: integer)\ng(of: <{sample}>)",
            "response": response, "correct": failure is None, "failure": failure,
            "unreadable": "not JSON" if failure == "format" else None}  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    put(tmp_path, "base", [
        answer("simple_0", "<b>", "format"), answer("simple_1", "[g()]", "wrong function"),
        answer("simple_2", "[f()]", None),
    ])  # fmt: skip
    put(tmp_path, "tuned", [
        answer("simple_0", "[h()]", "wrong function"), answer("simple_1", "[f()]", None),
        answer("simple_2", "[f()]", None),
    ])  # fmt: skip
    return tmp_path


def test_failures_are_counted_and_models_stand_side_by_side(runs: Path, capsys):
    assert main(["errors", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert "| model | right | wrong function | format | of |" in printed
    assert "| base | 1 | 1 | 1 | 3 |\n| tuned | 2 | 1 | 0 | 3 |" in printed
    counts = json.loads((runs / "errors.json").read_text())["coalm-oumi/bfcl_v3"]
    assert counts["tuned"] == {"right": 2, "wrong function": 1}
    page = (runs / "errors.html").read_text()
    # The sample that one model got right comes first; the one that both did is not there.
    assert page.index("asked in simple_1") < page.index("asked in simple_0")
    assert "asked in simple_2" not in page
    assert "f(n: integer)\ng(of: &lt;simple_1&gt;)" in page, "the functions that it could call"
    assert "&lt;b&gt;" in page and "<b>" not in page


def test_the_page_can_be_cut_to_a_task_and_some_samples(runs: Path, capsys):
    assert main(["errors", str(runs), "--task", "bfcl", "--samples", "1"]) == 0
    page = (runs / "errors.html").read_text()
    assert "1 of 2 samples" in page and "asked in simple_0" not in page
    assert main(["errors", str(runs), "--task", "multiwoz"]) == 1
    assert "no answers of a task with `multiwoz` in its name" in capsys.readouterr().err
