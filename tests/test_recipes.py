import copy
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from oumi.builders import build_model, build_peft_model
from oumi.cli.cli_utils import parse_extra_cli_args
from oumi.core.configs import (
    EvaluationConfig,
    InferenceConfig,
    JobConfig,
    TrainingConfig,
)

from coalm_oumi.data.cra.generate import GenerateConfig, Generation
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.options import MultiwozOptions
from coalm_oumi.files.config import read_config
from coalm_oumi.llm.chat import ChatClient
from coalm_oumi.report import paper
from tests.conftest import REPO

RECIPES = REPO / "recipes"
TRAINED = ("recipes", "ablations", "families", "variants")
JOBS = sorted((RECIPES / "jobs").glob("*.yaml"))
LEARN = sorted(f for f in RECIPES.rglob("coalm_*.yaml") if f.parent.name in TRAINED)
TRAIN = [file for file in LEARN if not file.stem.endswith("_grpo")]  # the others: test_grpo.py
EVALUATE = sorted([
    *RECIPES.glob("eval_*.yaml"), *RECIPES.glob("multiwoz/*.yaml"), *RECIPES.glob("baselines/*.yaml"),
])  # fmt: skip
BASELINES = {
    run: [
        f"oumi evaluate -c recipes/{file}.yaml {changes} --output_dir output/eval/{run}"
        for file, changes in zip(
            ("eval_api_bank", "eval_bfcl_v3") if model.engine == "VLLM"
            else ("baselines/openai_api_bank", "baselines/openai_bfcl_v3"),
            (model.changes, model.of_bfcl), strict=True)
    ]
    for run, model in paper.models().items()
}  # fmt: skip
"""The commands of each baseline: API-Bank and BFCL."""
INFER = sorted(RECIPES.glob("infer_*.yaml"))
JUDGE = sorted(RECIPES.glob("judge_*.yaml"))
SHAPES = yaml.safe_load((REPO / "tests/support/shapes.yaml").read_text())

MODEL = {"model.model_name", "model.tokenizer_pad_token", "training.output_dir"}
ONE_GPU = {
    "training.gradient_accumulation_steps",
    "training.enable_gradient_checkpointing",
    "training.gradient_checkpointing_kwargs.use_reentrant",
}
ABLATION = {"data.train.datasets.0.dataset_kwargs.domains", "training.output_dir"}
PADDED = {
    "model.enable_liger_kernel",
    "model.model_max_length",
    "data.train.collator_name",
    "data.train.datasets.0.dataset_kwargs.max_length",
    "training.optimizer",
    "training.per_device_train_batch_size",
    "training.trainer_kwargs.adapter_dtype",
    "training.trainer_kwargs.loss_type",
    "training.trainer_kwargs.max_row_tokens",
    "training.trainer_kwargs.padding_free",
}
RECOMPUTED = {
    "training.enable_gradient_checkpointing",
    "training.gradient_checkpointing_kwargs.use_reentrant",
}
PUBLISHED = (
    PADDED
    | RECOMPUTED
    | {
        "fsdp",
        "peft",
        "training.dataloader_num_workers",
        "training.dataloader_prefetch_factor",
        "training.empty_device_cache_steps",
        "training.include_performance_metrics",
        "training.learning_rate",
        "training.logging_steps",
        "training.max_grad_norm",
        "training.num_train_epochs",
        "training.optimizer",
        "training.output_dir",
        "training.per_device_train_batch_size",
        "training.save_steps",
        "training.trainer_kwargs",
        "training.warmup_ratio",
        "training.warmup_steps",
        "training.weight_decay",
    }
)
DIFFERENCES = {
    "coalm_demo": (PADDED - {"training.trainer_kwargs.loss_type"})
    | {
        "model.model_name",
        "model.tokenizer_pad_token",
        "data.train.datasets.0.dataset_path",
        "data.train.datasets.0.dataset_kwargs",
        "training.max_steps",
        "training.learning_rate",
        "training.num_train_epochs",
        "training.ddp_find_unused_parameters",
        "training.logging_steps",
        "training.save_steps",
        "training.try_resume_from_last_checkpoint",
        "training.trainer_kwargs",
        "training.output_dir",
    },
    "coalm_70b": PADDED
    | RECOMPUTED
    | {"model.model_name", "training.output_dir", "training.save_steps", "fsdp"},
    "coalm_405b": PADDED
    | {
        "model.model_name",
        "model.device_map",
        "training.output_dir",
        "training.save_steps",
        "training.gradient_checkpointing_kwargs.use_reentrant",
        "training.trainer_kwargs.fsdp",
        "training.trainer_kwargs.fsdp_config",
        "peft.q_lora",
        "peft.q_lora_bits",
        "peft.bnb_4bit_quant_type",
        "peft.use_bnb_nested_quant",
        "peft.bnb_4bit_quant_storage",
        "peft.bnb_4bit_compute_dtype",
    },
    "coalm_8b_wo_la": ABLATION,
    "coalm_8b_wo_tod": ABLATION,
    "coalm_8b_wo_cra": ABLATION,
    "coalm_qwen2.5_7b": MODEL,
    "coalm_llama3.2_3b": PADDED | (MODEL - {"model.tokenizer_pad_token"}) | ONE_GPU,
    "coalm_8b_throughput": (PADDED - {"data.train.collator_name", "model.enable_liger_kernel"})
    | RECOMPUTED
    | {
        "model.attn_implementation",
        "data.train.datasets.0.dataset_kwargs.completion_mask",
        "training.output_dir",
        "training.trainer_kwargs.packing",
        "training.trainer_kwargs.packing_strategy",
        "training.trainer_kwargs.completion_only_loss",
        "training.trainer_kwargs.dataset_kwargs.skip_prepare_dataset",
    },
    "coalm_8b_published": PUBLISHED,
    "coalm_70b_published": PUBLISHED | {"model.model_name", "training.use_peft"},
    "coalm_405b_published": PUBLISHED | {"model.model_name"},
}
"""What each recipe may say otherwise than coalm_8b.yaml. Oumi's configurations do not inherit."""


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{path}.{i}").items()}
    return {path.strip("."): value}


@functools.cache
def recipe(stem: str) -> TrainingConfig:
    (file,) = [f for f in TRAIN if f.stem == stem]
    return TrainingConfig.from_yaml(file)


@pytest.mark.parametrize(
    ("file", "config"),
    [(f, TrainingConfig) for f in LEARN]
    + [(f, EvaluationConfig) for f in EVALUATE]
    + [(f, InferenceConfig) for f in INFER]
    + [(f, JobConfig) for f in JOBS],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_recipe_is_one_of_oumis_configurations(file: Path, config: type):
    read = config.from_yaml(file)
    if config is TrainingConfig:
        for dataset in read.data.train.datasets:
            dataset.dataset_path = None  # Oumi checks that it exists, which it does after a build
        if read.model.attn_implementation == "flash_attention_2":
            read.model.attn_implementation = "sdpa"  # Oumi checks that flash-attn is installed
    read.finalize_and_validate()


@pytest.mark.parametrize("file", sorted((RECIPES / "data").glob("*.yaml")), ids=lambda f: f.name)
def test_every_data_recipe_loads(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COALM_DATA", "somewhere")
    assert set(load_config(file, []).sources) == {"snips", "hammer", "toolace", "sgd"}


@pytest.mark.parametrize("file", TRAIN, ids=lambda file: file.stem)
def test_a_recipe_differs_from_the_8b_one_in_what_its_head_says(file: Path):
    stem = file.stem
    other, full = (
        flat(yaml.safe_load(path.read_text())) for path in (file, RECIPES / "coalm_8b.yaml")
    )
    differing = {key for key in other.keys() | full.keys() if other.get(key) != full.get(key)}
    allowed = DIFFERENCES.get(stem, set())
    said = {key if key in allowed else group(key, allowed) for key in differing}
    assert said <= allowed
    if stem != "coalm_8b" and not stem.endswith("_published"):
        assert said == allowed


def group(key: str, allowed: set[str]) -> str:
    """The longest allowed parent of a key, or the key."""
    parents = [name for name in allowed if key.startswith(f"{name}.")]
    return max(parents, key=len, default=key)


def devices(stem: str) -> int:
    """How many GPUs the head names."""
    (file,) = [f for f in TRAIN if f.stem == stem]
    hardware = file.read_text().split("Hardware: ")[1]
    return int(hardware.split()[0])


@pytest.mark.parametrize(
    "stem", [f.stem for f in TRAIN if f.parent.name != "variants" and f.stem != "coalm_demo"]
)
def test_the_papers_hyperparameters(stem: str):
    """Section 4.2: LoRA on all linear layers, global batch 8, three epochs, 1e-4, bf16."""
    config = recipe(stem)
    assert (config.peft.lora_r, config.peft.lora_alpha) == (16, 32)
    training = config.training
    a_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert a_step * devices(stem) == 8
    assert (training.num_train_epochs, training.learning_rate) == (3, 1e-4)
    assert (training.lr_scheduler_type, training.warmup_ratio) == ("linear", 0.1)
    assert config.model.torch_dtype_str == "bfloat16"
    assert training.try_resume_from_last_checkpoint
    assert training.save_steps > 0


@pytest.mark.parametrize(
    ("stem", "domains"),
    [
        ("coalm_8b_wo_la", ["tod", "cra"]),
        ("coalm_8b_wo_tod", ["la", "cra"]),
        ("coalm_8b_wo_cra", ["tod", "la"]),
    ],
)
def test_the_ablations_of_table_5(stem: str, domains: list[str]):
    (data,) = recipe(stem).data.train.datasets
    assert data.dataset_kwargs == {"domains": domains, "max_length": 4096}
    stages = yaml.safe_load((RECIPES / "reproduce/ablations.yaml").read_text())["stages"]
    full = yaml.safe_load((RECIPES / "reproduce/8b.yaml").read_text())["stages"]["train"]
    override = '"--data.train.datasets[0].dataset_path" data/coalm_it'
    assert full["command"].endswith(override)
    assert stages[f"train_{stem.removeprefix('coalm_8b_')}"]["command"].endswith(override)


def test_what_oumi_published():
    """configs/projects/coalm of oumi-ai/oumi: where it differs from the paper."""
    found = {
        stem: (
            (t := recipe(stem).training).learning_rate,
            t.num_train_epochs,
            t.per_device_train_batch_size,
            t.use_peft,
            recipe(stem).peft.q_lora,
        )
        for stem in ("coalm_8b_published", "coalm_70b_published", "coalm_405b_published")
    }
    assert found == {
        "coalm_8b_published": (4e-5, 1, 16, True, False),
        "coalm_70b_published": (4e-5, 1, 7, False, False),
        "coalm_405b_published": (1e-4, 1, 2, True, True),
    }


@pytest.mark.parametrize("file", sorted((RECIPES / "cra").glob("*.yaml")), ids=lambda f: f.name)
def test_every_cra_recipe_loads(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    changes = ["path=samples:sgd", f"output_dir={tmp_path}"]
    with Generation(read_config(GenerateConfig, file, changes)) as generation:
        assert generation.estimate(retry_failed=False, batch=False).requests > 0
        ChatClient(generation.endpoint)


SIZES = [f"oumi train -c recipes/coalm_{size}.yaml" for size in ("8b", "70b", "405b")]
FAMILIES = re.findall(
    r"^oumi train .*$",
    (RECIPES / "families/README.md").read_text().replace("\\\n", " "),
    re.MULTILINE,
)


def test_every_model_of_a_known_shape_has_a_command_and_a_folder():
    configs = [typed(TrainingConfig, command) for command in [*SIZES, *FAMILIES]]
    assert {config.model.model_name for config in configs} == set(SHAPES)
    assert len({config.training.output_dir for config in configs}) == len(SHAPES)


@pytest.mark.parametrize("command", [*SIZES, *FAMILIES])
def test_lora_on_every_linear_layer_of_the_published_shape(command: str, tmp_path: Path):
    """Oumi's own builders on the meta device: which modules, and how many numbers are trained."""
    config = typed(TrainingConfig, command)
    shape = dict(SHAPES[config.model.model_name])
    published = shape.pop("parameters")
    transformers.AutoConfig.for_model(**shape).save_pretrained(tmp_path)
    params = copy.deepcopy(config.model)
    params.model_name, params.load_pretrained_weights = str(tmp_path), False
    with torch.device("meta"):
        model = build_model(params)
        assert sum(p.numel() for p in model.parameters()) == published
        linear = {
            name
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        }
        tuned = build_peft_model(model, False, config.peft)
    adapted = {
        name.removeprefix("base_model.model.").rpartition(".lora_A.")[0]
        for name, module in tuned.named_modules()
        if ".lora_A." in name
    }
    assert adapted == linear
    assert len(adapted) == 7 * shape["num_hidden_layers"]
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert trained == lora_parameters(shape, rank=config.peft.lora_r)


def lora_parameters(shape: dict[str, Any], *, rank: int) -> int:
    """A and B of each layer hold rank * (in + out) numbers (Hu et al., 2021, section 4.1)."""
    hidden, inner, head = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    query, key = shape["num_attention_heads"] * head, shape["num_key_value_heads"] * head
    attention = 2 * (hidden + query) + 2 * (hidden + key)  # q and o; k and v
    mlp = 3 * (hidden + inner)  # gate and up; down
    return rank * (attention + mlp) * shape["num_hidden_layers"]


def test_the_count_of_the_8b_model_is_the_known_one():
    assert lora_parameters(SHAPES["meta-llama/Llama-3.1-8B-Instruct"], rank=16) == 41_943_040


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.name)
def test_every_job_is_one_that_its_scheduler_takes(file: Path):
    job = JobConfig.from_yaml(file)
    size = file.stem.split("_")[1]
    assert f"oumi distributed torchrun -m oumi train -c recipes/coalm_{size}.yaml" in job.run
    assert job.num_nodes == (2 if size == "405b" else 1)
    gpus = 2 if size == "8b" else 8
    assert job.resources.accelerators == f"H100:{gpus}"
    if job.resources.cloud == "slurm":
        from oumi.launcher.clusters.slurm_cluster import (
            _create_job_script,
            _resources_to_sbatch_kwargs,
        )

        assert _resources_to_sbatch_kwargs(job.resources) == {"gres": "gpu:H100:8"}
        script = _create_job_script(job)
        assert script.startswith("#!/bin/bash\n#SBATCH --ntasks-per-node=1\n")
        assert script.rindex("#SBATCH") < script.index("export ") < script.index("srun ")
    else:
        from oumi.launcher.clients.sky_client import _convert_job_to_task

        job.file_mounts = {}  # SkyPilot looks for the token on this machine
        task = _convert_job_to_task(job)
        assert task.num_nodes == job.num_nodes
        (resources,) = task.resources
        assert resources.accelerators == {"H100": gpus}


@pytest.mark.parametrize("file", LEARN + EVALUATE + INFER + JOBS, ids=lambda file: file.name)
def test_no_recipe_calls_home_and_each_says_how_to_run_it(file: Path):
    text = file.read_text()
    assert f"-c recipes/{file.relative_to(RECIPES)}" in text
    assert "enable_wandb: true" not in text
    if file in JOBS:
        return
    assert "Hardware:" in text
    if file in TRAIN and file.stem != "coalm_demo":
        assert "Hours:" in text


@pytest.mark.parametrize("file", EVALUATE, ids=lambda file: file.name)
def test_every_recipe_of_multiwoz_can_be_read(file: Path):
    for task in EvaluationConfig.from_yaml(file).tasks:
        if task.task_name == "coalm-oumi/multiwoz":
            options = MultiwozOptions.from_options(task.eval_kwargs["data"])
            assert options.format in FORMATS


@pytest.mark.parametrize("file", EVALUATE, ids=lambda file: file.name)
def test_prompt_styles_suit_their_engines(file: Path, monkeypatch: pytest.MonkeyPatch):
    the_style_suits_the_engine(EvaluationConfig.from_yaml(file), monkeypatch)


def the_style_suits_the_engine(config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from oumi.inference.native_tool_calling import supports_native_tool_calling

    from coalm_oumi.evaluation import styles
    from coalm_oumi.evaluation.bfcl.environment import SEARCH_KEY
    from coalm_oumi.evaluation.bfcl.run import categories
    from coalm_oumi.evaluation.bfcl.v3 import V3
    from coalm_oumi.evaluation.bfcl.v4 import V4

    monkeypatch.setenv(SEARCH_KEY, "key")
    for task in config.tasks:
        data = task.eval_kwargs.get("data", {})
        if data.get("style") == "native":
            assert supports_native_tool_calling(config.inference_engine)
            assert config.inference_engine != "VLLM" or config.model.tool_call_parser
        for version in (V3, V4):
            if task.task_name == version.task:
                style = styles.STYLES[{"official": "bfcl"}.get(data["style"], data["style"])]
                assert categories(version, data["categories"], style)


class Typed:
    """What Oumi's command line hands to its parser of overrides."""

    def __init__(self, command: str):
        _, _, _, self.recipe, *self.args = shlex.split(command)


def typed(kind: Any, command: str) -> Any:
    """The configuration that a command line gives."""
    words = Typed(command)
    return kind.from_yaml_and_arg_list(str(REPO / words.recipe), parse_extra_cli_args(words))


@pytest.mark.parametrize("run", BASELINES)
def test_a_baseline_is_asked_with_the_limits_of_its_benchmark(
    run: str, monkeypatch: pytest.MonkeyPatch
):
    limits = {"api_bank": (512, 6000), "bfcl_v3": (4096, 8192 if run == "granite_20b" else 32768)}
    for command in BASELINES[run]:
        config = typed(EvaluationConfig, command)
        config.finalize_and_validate()
        the_style_suits_the_engine(config, monkeypatch)
        name = config.tasks[0].task_name.removeprefix("coalm-oumi/")
        assert config.generation.max_new_tokens == limits[name][0]
        if config.inference_engine == "VLLM":
            assert config.model.model_max_length == limits[name][1]


def test_the_readme_lists_the_overrides_of_every_baseline():
    listed = {}
    for line in (RECIPES / "baselines/README.md").read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.split("|")]
        if len(cells) > 3 and cells[2].startswith("--model.model_name"):
            both, of_bfcl = (
                set(shlex.split(text)) for text in (cells[2], f"{cells[2]} {cells[3]}")
            )
            listed[cells[2].rpartition("/")[2]] = [both, of_bfcl]
    of_table_2_only = {"gpt_35_turbo"}
    assert listed == {
        run: [set(Typed(command).args) for command in commands]
        for run, commands in BASELINES.items()
        if run not in of_table_2_only
    }


@pytest.mark.parametrize("size", ["70b", "405b"])
def test_a_trained_model_is_asked_as_coalm_in_bfcl(size: str):
    """bfcl-eval's table has no entry for the base models of these two, only for CoALM's own."""
    stages = yaml.safe_load((RECIPES / f"reproduce/{size}.yaml").read_text())["stages"]
    command = shlex.split(stages["bfcl"]["command"])
    named = command[command.index("--tasks[0].eval_kwargs.data.model") + 1]
    assert named == f"uiuc-convai/CoALM-{size.upper()}"


def test_there_is_a_baseline_of_every_family_of_tables_3_and_4():
    models = [*paper.models().values()]
    families = ("Llama-3.1-8B", "Llama-3.3-70B", "405B", "Mistral-7B", "Qwen2.5", "Hammer", "ToolACE",
        "granite", "CodeActAgent", "xLAM", "gpt-4o-mini")  # fmt: skip
    for family in families:
        assert any(family in model.changes for model in models), family


@pytest.mark.parametrize("name", ["8b", "70b"])
def test_multiwoz_is_asked_alike_before_and_after_training(name: str):
    stages = yaml.safe_load((RECIPES / f"reproduce/{name}.yaml").read_text())["stages"]
    recipes = [
        stages[stage]["command"].split("-c ")[1].split()[0]
        for stage in ("multiwoz", "multiwoz_before")
    ]
    assert recipes == ["recipes/eval_multiwoz.yaml"] * 2
    tasks = EvaluationConfig.from_yaml(RECIPES / "eval_multiwoz.yaml").tasks
    read = [MultiwozOptions.from_options(task.eval_kwargs["data"]) for task in tasks]
    assert [(options.format, options.history) for options in read] == [
        ("autotod", "own"), ("autotod", "reference"),
    ]  # fmt: skip
