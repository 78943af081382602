"""General skills before and after training: lm-harness through `oumi evaluate`, without the Hub."""

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPO

RECIPE = REPO / "recipes/eval_general.yaml"


def test_the_tasks_are_lm_harness_tasks():
    from lm_eval.tasks import TaskManager

    tasks = yaml.safe_load(RECIPE.read_text())["tasks"]
    assert {task["evaluation_backend"] for task in tasks} == {"lm_harness"}
    names = [task["task_name"] for task in tasks]
    assert names == list(dict.fromkeys(names))
    assert set(names) <= set(TaskManager().all_tasks)
    assert all("num_fewshot" in task["eval_kwargs"] for task in tasks)


def data_set(folder: Path, name: str, config: str, rows: list[dict]) -> None:
    """Writes a copy of a data set as the Hub lays it out: a card that names each split's file."""
    home = folder / name
    home.mkdir(parents=True)
    splits = ("train", "validation", "test")
    for split in splits:
        (home / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    files = [{"split": split, "path": f"{split}.jsonl"} for split in splits]
    card = yaml.safe_dump({"configs": [{"config_name": config, "data_files": files}]})
    (home / "README.md").write_text(f"---\n{card}---\n")


@pytest.mark.e2e
def test_tasks_run_from_folders_of_the_data_sets_names(
    tiny_model: Path, tmp_path: Path, oumi, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load(RECIPE.read_text())
    data_set(
        tmp_path,
        "allenai/ai2_arc",
        "ARC-Challenge",
        [
            {
                "id": str(n),
                "question": f"What is {n} plus 1?",
                "choices": {"text": [str(n), str(n + 1)], "label": ["A", "B"]},
                "answerKey": "B",
            }
            for n in range(30)
        ],
    )
    data_set(
        tmp_path,
        "openai/gsm8k",
        "main",
        [{"question": f"{n} plus 1?", "answer": f"So it is.\n#### {n + 1}"} for n in range(30)],
    )
    chosen = ("arc_challenge", "gsm8k")
    recipe["tasks"] = [
        task | {"num_samples": 2} for task in recipe["tasks"] if task["task_name"] in chosen
    ]
    recipe["model"] |= {
        "model_name": str(tiny_model),
        "adapter_model": None,
        "torch_dtype_str": "float32",
    }
    recipe["output_dir"] = str(tmp_path / "out")
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(recipe))
    code, printed = oumi("evaluate", "-c", tmp_path / "eval.yaml")
    assert code == 0, printed
    results: dict[str, dict[str, float]] = {}
    for file in (tmp_path / "out").rglob("task_result.json"):
        results |= json.loads(file.read_text())["results"]
    assert set(results) == set(chosen)
    assert 0 <= results["arc_challenge"]["acc_norm,none"] <= 1
    assert results["gsm8k"]["exact_match,strict-match"] == 0, "random weights cannot count"
