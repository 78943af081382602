import json
from pathlib import Path

import pytest
from oumi.core.configs import EvaluationConfig, ModelParams

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.options import TaskOptions

TASK = "coalm-oumi/task"


def config(folder: Path, model: str, adapter: str | None = None) -> EvaluationConfig:
    params = ModelParams(model_name=model, adapter_model=adapter)
    return EvaluationConfig(model=params, output_dir=str(folder / "eval"))


def test_an_adapter_of_another_base_model_is_refused(tmp_path: Path):
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    adapter.mkdir()
    base.mkdir()
    (tmp_path / "link").symlink_to(base)
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps({"base_model_name_or_path": str(base)}))
    for same in (base, tmp_path / "link"):
        check_model(config(tmp_path, str(same), str(adapter)), TaskOptions(), TASK)
    other = config(tmp_path, "meta-llama/Llama-3.1-8B-Instruct", str(adapter))
    with pytest.raises(CoalmError, match=r"was trained on .*base, and model\.model_name is meta"):
        check_model(other, TaskOptions(), TASK)
    check_model(other, TaskOptions(other_base=True), TASK)
    check_model(config(tmp_path, "meta-llama/Llama-3.1-8B-Instruct"), TaskOptions(), TASK)


@pytest.mark.parametrize("content", ["[]", '{"base_model_name_or_path": 5}', "{"])
def test_a_damaged_adapter_is_one_clear_error(tmp_path: Path, content: str):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(CoalmError, match=r"adapter_config\.json: "):
        check_model(config(tmp_path, "a", str(tmp_path)), TaskOptions(), TASK)


def test_another_model_does_not_overwrite_results(tmp_path: Path):
    run = tmp_path / "eval/custom_1"
    run.mkdir(parents=True)
    (run / "task_result.json").write_text(json.dumps({"results": {TASK: {}}}))
    (run / "model_params.json").write_text(
        json.dumps({"model_name": "a/one", "adapter_model": None})
    )
    check_model(config(tmp_path, "a/one"), TaskOptions(), TASK)
    check_model(config(tmp_path, "a/two"), TaskOptions(), "coalm-oumi/other_task")
    with pytest.raises(
        CoalmError, match="holds the results of a/one for coalm-oumi/task; write those of a/two"
    ):
        check_model(config(tmp_path, "a/two"), TaskOptions(), TASK)


@pytest.mark.parametrize("name", ["task_result.json", "model_params.json"])
@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", '{"results": 5, "model_name": 5}', '{"results": [1], "model_name": [1]}'],
)
def test_a_result_that_a_full_disk_cut_stops_no_later_run(tmp_path: Path, name: str, content: str):
    run = tmp_path / "eval/custom_1"
    run.mkdir(parents=True)
    (run / "task_result.json").write_text(json.dumps({"results": {TASK: {}}}))
    (run / "model_params.json").write_text(json.dumps({"model_name": "b"}))
    (run / name).write_text(content)
    check_model(config(tmp_path, "a"), TaskOptions(), TASK)
