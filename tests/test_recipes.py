from pathlib import Path
from typing import Any

import pytest
import yaml
from oumi.core.configs import EvaluationConfig, InferenceConfig, TrainingConfig

from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.task import Options, endpoint
from coalm_oumi.mixture.config import load_config
from tests.conftest import REPO

RECIPES = REPO / "recipes"
TRAIN = sorted(RECIPES.glob("coalm_*.yaml"))
BASELINES = sorted((RECIPES / "baselines").glob("*.yaml"))
EVALUATE = sorted([*RECIPES.glob("eval_*.yaml"), *RECIPES.glob("multiwoz/*.yaml"), *BASELINES])
INFER = sorted(RECIPES.glob("infer_*.yaml"))


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
    + [(f, InferenceConfig) for f in INFER],
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
    assert f"-c recipes/{file.relative_to(RECIPES)}" in text
    assert "enable_wandb: true" not in text
    assert "Hardware:" in text


@pytest.mark.parametrize("file", EVALUATE, ids=lambda file: file.name)
def test_every_recipe_of_multiwoz_can_be_read(file: Path):
    for task in EvaluationConfig.from_yaml(file).tasks:
        if task.task_name == "coalm-oumi/multiwoz":
            options = Options.from_mapping(task.eval_kwargs["data"])
            assert options.format in FORMATS
            for place in ("user", "judge"):
                if asked := getattr(options, place):
                    assert endpoint(asked, place)


@pytest.mark.parametrize("file", EVALUATE, ids=lambda file: file.name)
def test_prompt_styles_suit_their_engines(file: Path):
    from oumi.inference.native_tool_calling import supports_native_tool_calling

    from coalm_oumi.evaluation import styles
    from coalm_oumi.evaluation.bfcl.run import categories

    config = EvaluationConfig.from_yaml(file)
    for task in config.tasks:
        data = task.eval_kwargs.get("data", {})
        if "style" in data and styles.by_name(data["style"]).native:
            assert supports_native_tool_calling(config.inference_engine)
            assert config.inference_engine != "VLLM" or config.model.tool_call_parser
        if task.task_name == "coalm-oumi/bfcl_v3":
            assert categories(data["categories"])


def test_there_is_a_baseline_of_every_family_of_tables_3_and_4():
    models = {EvaluationConfig.from_yaml(file).model.model_name for file in BASELINES}
    families = ("Llama-3.1-8B", "Llama-3.3-70B", "405B", "Mistral-7B", "Qwen2.5", "Hammer", "ToolACE",
        "granite", "CodeActAgent", "xLAM", "gpt-4o-2024", "gpt-4o-mini")  # fmt: skip
    for family in families:
        assert any(family in model for model in models), family
