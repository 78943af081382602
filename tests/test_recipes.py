from pathlib import Path
from typing import Any

import pytest
import yaml
from oumi.core.configs import EvaluationConfig, InferenceConfig, JudgeConfig, TrainingConfig

from coalm_oumi.chat import ChatClient
from coalm_oumi.config import read_config
from coalm_oumi.cra.generate import GenerateConfig, Generation
from coalm_oumi.mixture.config import load_config
from tests.conftest import REPO

RECIPES = REPO / "recipes"
TRAIN = sorted(RECIPES.glob("coalm_*.yaml"))
EVALUATE = sorted(RECIPES.glob("eval_*.yaml"))
INFER = sorted(RECIPES.glob("infer_*.yaml"))
JUDGE = sorted(RECIPES.glob("judge_*.yaml"))


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{path}.{i}").items()}
    return {path.strip("."): value}


@pytest.mark.parametrize(
    ("file", "config"),
    [(f, TrainingConfig) for f in TRAIN]
    + [(f, EvaluationConfig) for f in EVALUATE]
    + [(f, InferenceConfig) for f in INFER]
    + [(f, JudgeConfig) for f in JUDGE],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_recipe_is_one_of_oumis_configurations(file: Path, config: type):
    read = config.from_yaml(file)
    if config is TrainingConfig:
        for dataset in read.data.train.datasets:
            dataset.dataset_path = None  # Oumi checks that it exists, which it does after a build
    read.finalize_and_validate()


@pytest.mark.parametrize("file", sorted((RECIPES / "data").glob("*.yaml")), ids=lambda f: f.name)
def test_every_data_recipe_loads(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COALM_DATA", "somewhere")
    assert set(load_config(file, []).sources) == {"snips", "hammer", "toolace", "sgd"}


@pytest.mark.parametrize("file", sorted((RECIPES / "cra").glob("*.yaml")), ids=lambda f: f.name)
def test_every_cra_recipe_loads(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    changes = ["path=samples:sgd", f"output_dir={tmp_path}"]
    with Generation(read_config(GenerateConfig, file, changes)) as generation:
        assert generation.estimate(retry_failed=False, batch=False).requests > 0
        ChatClient(generation.endpoint)


def test_the_demo_differs_from_the_8b_recipe_as_its_head_says():
    demo, full = (
        flat(yaml.safe_load((RECIPES / name).read_text()))
        for name in ("coalm_demo.yaml", "coalm_8b.yaml")
    )
    differing = {key for key in demo.keys() | full.keys() if demo.get(key) != full.get(key)}
    assert differing == {
        "model.model_name",
        "model.model_max_length",
        "model.tokenizer_pad_token",
        "data.train.datasets.0.dataset_path",
        "training.max_steps",
        "training.num_train_epochs",
        "training.enable_gradient_checkpointing",
        "training.gradient_checkpointing_kwargs.use_reentrant",
        "training.ddp_find_unused_parameters",
        "training.logging_steps",
        "training.save_steps",
        "training.try_resume_from_last_checkpoint",
        "training.output_dir",
    }


def test_the_papers_hyperparameters():
    """Section 4.2: LoRA on all linear layers, global batch 8 on 8 GPUs, three epochs."""
    config = TrainingConfig.from_yaml(RECIPES / "coalm_8b.yaml")
    assert (config.peft.lora_r, config.peft.lora_alpha) == (16, 32)
    assert set(config.peft.lora_target_modules or []) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    training = config.training
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps * 8 == 8
    assert (training.num_train_epochs, training.learning_rate) == (3, 1e-4)
    assert (training.lr_scheduler_type, training.warmup_ratio) == ("linear", 0.1)
    assert config.model.torch_dtype_str == "bfloat16"


@pytest.mark.parametrize("file", TRAIN + EVALUATE + INFER, ids=lambda file: file.name)
def test_no_recipe_calls_home_and_each_says_how_to_run_it(file: Path):
    text = file.read_text()
    assert f"-c recipes/{file.name}" in text
    assert "enable_wandb: true" not in text
    assert "Hardware:" in text
