"""`coalm check`: what a recipe names, read before a model is loaded."""

import json
from pathlib import Path

import pytest

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.training.check import check


def lines(recipe: Path, *changes: str) -> list[str]:
    return [str(finding) for finding in check(recipe, changes)]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    rows = [{"instruction": "Double it.", "input": str(n), "output": str(2 * n)} for n in range(60)]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    return tmp_path / "mine.json"


def evaluation(folder: Path, data: str, task: str = "coalm-oumi/held_out") -> Path:
    recipe = folder / "eval.yaml"
    recipe.write_text(
        f"model: {{model_name: someone/model}}\ninference_engine: NATIVE\noutput_dir: {folder}/out\n"
        f"tasks: [{{evaluation_backend: custom, task_name: {task}, eval_kwargs: {data}}}]\n"
    )
    return recipe


def test_a_good_evaluation_says_what_it_asks(tmp_path: Path, own: Path):
    recipe = evaluation(tmp_path, f"{{data: {{dataset_path: {own}, validation_fraction: 0.2}}}}")
    model, task = lines(recipe)
    assert model == "ok   model.model_name: someone/model is taken from the Hub; not checked"
    assert task.startswith("ok   task coalm-oumi/held_out: ") and "held-out samples" in task
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "kwargs", "message"),
    [
        ("coalm-oumi/held_out", "{data: {dataset_path: OWN}}", "no validation split"),
        ("coalm-oumi/held_out", "{data: {dataset_path: OWN, split: 1}}", "unknown key `split`"),
        ("coalm-oumi/held_out", "{dataset_path: OWN}", "has dataset_path -> it takes data"),
        ("coalm-oumi/nosuch", "{data: {}}", "there is no such task"),
        ("coalm-oumi/state_tracking", "{data: {dataset_path: OWN, validation_fraction: 0.2}}",
         "no column `domain`"),
        ("coalm-oumi/bfcl_v3", "{data: {categories: 5}}", "categories: expected a list"),
        ("coalm-oumi/multiwoz", "{data: {domain: la}}", "unknown key `domain`"),
        ("coalm-oumi/api_bank", "{data: {style: nosuch, x: 1}}", "unknown key `x`"),
    ],
)  # fmt: skip
def test_bad_tasks_are_found_without_a_model(
    tmp_path: Path, own: Path, task: str, kwargs: str, message: str
):
    *_, found = lines(evaluation(tmp_path, kwargs.replace("OWN", str(own)), task))
    assert found.startswith(f"BAD  task {task}: ") and message in found


def test_a_training_recipe(tmp_path: Path, own: Path, repo: Path, tiny_model: Path):
    demo = repo / "recipes/coalm_demo.yaml"
    changes = [
        f"model.model_name={tiny_model}",
        f"data.train.datasets[0].dataset_path={own}",
        "data.train.datasets[0].dataset_kwargs.weights=null",  # weights of sources, which own data lacks
    ]
    assert lines(demo, *changes) == ["ok   data.train.datasets[0]: 60 samples"]
    *_, found = lines(demo, *changes, "data.train.datasets[0].dataset_kwargs={sources: [mine]}")
    assert found.startswith("BAD  data.train.datasets[0]: ") and "no column `source`" in found
    *_, found = lines(demo, *changes, "data.train.datasets[0].dataset_name=coalm-oumi/mix")
    assert "there is no dataset coalm-oumi/mix -> use one of coalm-oumi/alpaca" in found
    first, *_ = lines(demo, *changes, "model.model_name=output/no/such")
    assert first == "BAD  model.model_name: output/no/such: no such folder"


def test_a_recipe_for_a_build(tmp_path: Path, own: Path):
    recipe = tmp_path / "build.yaml"
    recipe.write_text(f"output_dir: {tmp_path}/out\nsources: {{alpaca: {{path: {own}}}}}\n")
    assert lines(recipe) == ["ok   source alpaca: 0.0 MB of raw files"]
    (found,) = lines(recipe, f"sources.alpaca.path={tmp_path}/nosuch.json")
    assert "nosuch.json: no such file" in found


def test_the_command(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]):
    good = evaluation(tmp_path, f"{{data: {{dataset_path: {own}, validation_fraction: 0.2}}}}")
    assert main(["check", str(good)]) == 0
    assert main(["check", str(evaluation(tmp_path, "{data: {}}"))]) == 1
    assert "BAD  task coalm-oumi/held_out: eval_kwargs.data: expected the key `dataset_path`" in (
        capsys.readouterr().out
    )
    with pytest.raises(CoalmError, match="no such file"):
        lines(tmp_path / "nosuch.yaml")
