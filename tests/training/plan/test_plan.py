import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from oumi.core.configs import PeftParams

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.training.plan import checks, show
from coalm_oumi.training.plan.build import PlanOptions, make_plan
from coalm_oumi.training.plan.gpus import gpu_by_name, known_gpus
from coalm_oumi.training.plan.schedule import (
    DataSize,
    data_size,
    flops_per_token,
    implied_mfu,
    paper_training,
)
from coalm_oumi.training.plan.setup import read_setup
from coalm_oumi.training.plan.shape import measure, published, read_config
from coalm_oumi.training.plan.span import Span
from coalm_oumi.training.recipe import read_recipe
from tests.conftest import REPO

RECIPE = REPO / "recipes/coalm_8b.yaml"
FOLDERS = ("ablations", "families", "variants")
PADDED = REPO / "tests/support/padded_8b.yaml"
RECIPE_405B = REPO / "recipes/coalm_405b.yaml"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = PeftParams(lora_r=16, lora_alpha=32, lora_target_modules=LINEAR)
FSDP = [
    "fsdp.enable_fsdp=true",
    "fsdp.sharding_strategy=FULL_SHARD",
    "fsdp.auto_wrap_policy=TRANSFORMER_BASED_WRAP",
]
QLORA = [
    "model.model_name=meta-llama/Llama-3.1-405B-Instruct",
    "peft.q_lora=true",
    "peft.bnb_4bit_quant_type=nf4",
    "peft.use_bnb_nested_quant=true",
    "peft.bnb_4bit_compute_dtype=bfloat16",
    "peft.bnb_4bit_quant_storage=bfloat16",
    *FSDP,
]

RECOMPUTE = "training.enable_gradient_checkpointing=true"


def shape_of(name: str, peft: PeftParams | None = LORA):
    return measure(name, read_config(name), peft)


def plan(*changes: str, recipe: Path = PADDED, gpu: str = "h100", **options: Any):
    return make_plan(recipe, gpu_by_name(gpu), PlanOptions(changes=changes, **options))


def bad(made: Any) -> list[str]:
    return [f"{finding.text} -> {finding.fix}" for finding in made.findings if not finding.ok]


@pytest.mark.parametrize("name", [name for name in published() if "Llama-3.1-8B" not in name])
def test_published_shapes_have_the_published_number_of_parameters(name: str):
    assert shape_of(name, None).parameters == published()[name]["parameters"]


def test_lora_modules_are_counted_by_arithmetic():
    """Rank 16 on the seven linear layers of the 32 layers of the 8B model: in + out, times 16."""
    shape = shape_of("meta-llama/Llama-3.1-8B-Instruct")
    widths = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096)]
    widths += [(4096, 14336), (4096, 14336), (14336, 4096)]
    assert shape.trainable == 32 * 16 * sum(a + b for a, b in widths) == 41_943_040
    assert sorted(name for name, _ in shape.adapted) == sorted(LINEAR)
    assert (shape.query, shape.key) == (4096, 1024)
    assert shape.multiplied == 32 * sum(a * b for a, b in widths) + 128256 * 4096


def test_another_kind_of_layer_is_refused():
    import transformers

    config = transformers.GPT2Config(n_layer=1, n_embd=32, n_head=2)
    with pytest.raises(CoalmError, match=r"gpt2: "):
        measure("gpt2", config, None)


def test_a_folder_gives_its_own_shape(tiny_model: Path):
    assert shape_of(str(tiny_model)).hidden == 64


def test_a_model_that_is_nowhere_is_one_line(tmp_path: Path):
    with pytest.raises(CoalmError, match=r"model.model_name nobody/nothing: .*models\.yaml"):
        read_config("nobody/nothing")


def test_the_utilisation_that_the_papers_hours_imply():
    """Section 4.2 and the card: 311,639 samples of 678 tokens, three epochs, 8 H100, 8 and 60 h."""
    data = data_size(read_recipe(RECIPE))
    assert (data.samples, round(data.tokens)) == (311_639, 678)
    implied = {
        name: implied_mfu(
            shape_of(name), data, gpu_by_name("h100"), gpus=8, epochs=3, hours=float(hours)
        )
        for name, hours in paper_training()["hours"].items()
    }
    assert {name[-12:]: round(mfu, 3) for name, mfu in implied.items()} == {
        "-8B-Instruct": 0.086,
        "70B-Instruct": 0.105,
    }


def test_arithmetic_of_a_token():
    """LoRA: 4 a weight, 6 an adapter's. Full fine-tuning: 6 a weight. Both: causal attention."""
    lora, whole = (shape_of("meta-llama/Llama-3.1-8B-Instruct", peft) for peft in (LORA, None))
    attention = 6 * 32 * 4096 * 1000
    assert flops_per_token(lora, tokens=1000) == 4 * lora.multiplied + 6 * 41_943_040 + attention
    assert flops_per_token(whole, tokens=1000) == 6 * lora.multiplied + attention


def test_the_8b_plan():
    made = plan(price=2.0)
    assert (made.gpus, made.smallest, made.ok) == (8, 1, True)
    (row,) = (cluster for cluster in made.clusters if cluster.gpus == 8)
    assert row.schedule.steps == 116_865  # 311,639 samples, three times, eight at once
    hours = row.schedule.hours
    assert row.schedule.cost == Span(2 * 8 * hours.low, 2 * 8 * hours.high)
    weights = made.moments["loss"].weights
    assert weights == 2 * 8_030_261_248


# Tokens per second of one H100, by benchmarks/train_on_gpu.py in November 2026: samples of 709 tokens on
# average, activations recomputed, float32 adapters, TRL's metrics. The packed row was in SDPA's form.
ON_AN_H100 = {
    "padded_8b": (PADDED, 1023),
    "published": (REPO / "recipes/variants/coalm_8b_published.yaml", 2989),
    "packed": (REPO / "recipes/variants/coalm_8b_throughput.yaml", 3445),
}


def test_the_ranges_hold_what_an_h100_measured_and_rank_recipes_as_it_did():
    changes = ["fsdp.enable_fsdp=false", "training.num_train_epochs=1", RECOMPUTE]
    middles = {}
    for name, (recipe, measured) in ON_AN_H100.items():
        options = {"tokens_per_sample": 709.0} if name == "padded_8b" else {}
        each = read_setup(read_recipe(recipe, changes)).micro_batch
        made = plan(*changes, recipe=recipe, gpus=1, global_batch=each, **options)
        (row,) = (row for row in made.clusters if row.gpus == 1)
        tokens = made.data.samples * made.data.tokens
        slow, fast = (tokens / (hours * 3600) for hours in (
            row.schedule.hours.high, row.schedule.hours.low))  # fmt: skip
        assert slow <= measured <= fast, (name, slow, fast)
        middles[name] = math.sqrt(slow * fast)
    assert sorted(middles, key=lambda name: middles[name]) == list(ON_AN_H100)


def test_405b_in_four_bits_needs_a_node():
    """At the paper's batch, read from the FSDP settings of the recipe's `trainer_kwargs`."""
    made = plan(recipe=RECIPE_405B)
    assert (made.setup.sharding, made.setup.checkpointing, made.setup.wrapped) == (
        "full", True, True,
    )  # fmt: skip
    linear = 126 * made.shape.layer_linear
    memory = made.moments["backward"]
    # What is not in 4 bits peft casts to float32, and Oumi back to bfloat16 under FSDP.
    assert memory.weights == (linear // 2 + 2 * (made.shape.parameters - linear)) // 8
    # One byte to 64 weights and four to 64 * 256, on each GPU (QLoRA, section 3).
    assert memory.constants == pytest.approx(linear / 64 * (1 + 4 / 256), rel=1e-6)
    assert (made.gpus, made.smallest, made.ok) == (8, 8, True)
    two_nodes = plan(recipe=RECIPE_405B, gpus=16, global_batch=16)
    assert two_nodes.ok
    assert bad(plan(recipe=RECIPE_405B, gpus=16))


@pytest.mark.parametrize(
    ("changes", "recipe"), [(QLORA, PADDED), (["model.device_map=auto"], RECIPE_405B)]
)
def test_a_model_that_is_loaded_whole_before_it_is_sharded(changes: list[str], recipe: Path):
    """Oumi's `fsdp` section with 4 bits, and the trainer's own FSDP without a `device_map`."""
    made = plan(*changes, recipe=recipe)
    assert made.smallest is None
    (line,) = bad(made)
    assert "loaded whole on every h100" in line
    assert "model.device_map=cpu" in line


def test_without_sharding_more_gpus_do_not_help_and_the_fix_is_fsdp():
    made = plan("model.model_name=meta-llama/Llama-3.3-70B-Instruct")
    assert made.smallest is None
    (line,) = bad(made)
    assert "does not fit on 8 x h100" in line
    assert line.endswith(f"-> {' '.join([RECOMPUTE, *FSDP])}")
    fixed = plan("model.model_name=meta-llama/Llama-3.3-70B-Instruct", *FSDP, RECOMPUTE)
    assert fixed.ok
    assert fixed.smallest == 4


def test_a_batch_that_cannot_be_split():
    (line,) = bad(plan(gpus=3))
    assert "on 3 GPUs the recipe's global batch is 3, not 8, which cannot be split over 3" in line
    assert "-> training.gradient_accumulation_steps=4 --gpus 2, or --global-batch 3, which" in line
    (line,) = bad(plan(gpus=16))
    assert "-> --gpus 8, or --global-batch 16, which is another run" in line
    many = ["training.per_device_train_batch_size=16", "model.model_max_length=512", RECOMPUTE]
    (line,) = bad(plan(*many, gpus=1))
    assert "-> training.per_device_train_batch_size=8, or --global-batch 16" in line


def test_a_recipe_whose_batch_is_another_on_these_gpus():
    (line,) = bad(plan(gpus=2))
    assert "is 2, not 8 -> training.gradient_accumulation_steps=4" in line


MICRO, ACCUMULATION = (
    "training.per_device_train_batch_size={}", "training.gradient_accumulation_steps={}",
)  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "gpu", "gpus", "changes"),
    [
        (PADDED, "h100", 8, [MICRO.format(2), ACCUMULATION.format(4), RECOMPUTE]),
        (PADDED, "h100", 3, [MICRO.format(2), ACCUMULATION.format(4), RECOMPUTE]),
        (PADDED, "h100", 1, [MICRO.format(3)]),
        (RECIPE, "h100", 4, [ACCUMULATION.format(2)]),
        (RECIPE, "h100", 2, [MICRO.format(3), ACCUMULATION.format(3)]),
        (RECIPE, "h100", 1, ["training.trainer_kwargs.max_row_tokens=null"]),
        (RECIPE, "h100", 1, ["model.enable_liger_kernel=false"]),
        (RECIPE, "h100", 8, ["model.model_name=meta-llama/Llama-3.3-70B-Instruct"]),
        (RECIPE, "h100", 8, [FSDP[0]]),
        (RECIPE, "h100", 8, ["training.trainer_kwargs.max_row_tokens=null"]),
        (RECIPE, "a100-40gb", 1, []),
        (RECIPE, "rtx4090", 1, []),
        (RECIPE, "v100", 1, ["training.trainer_kwargs.adapter_dtype=bfloat16"]),
        (PADDED, "l40s", 2, []),
        (PADDED, "h100", 8, QLORA),
        (RECIPE_405B, "h100", 8, ["model.device_map=auto"]),
        (RECIPE_405B, "h100", 2, []),
        (REPO / "recipes/coalm_70b.yaml", "a100-40gb", 1, []),
    ],
)
def test_every_named_fix_works_when_it_is_applied(
    recipe: Path, gpu: str, gpus: int, changes: list[str]
):
    """The first finding's fix, before any alternative, ends that finding; the last plan is good."""
    options: dict[str, Any] = {"gpus": gpus}
    made = plan(*changes, recipe=recipe, gpu=gpu, **options)
    assert not made.ok
    for _ in range(4):
        first = next(finding for finding in made.findings if not finding.ok)
        fix = re.split(", (?:or|with) ", first.fix)[0]
        for option, number in re.findall(r"--(\S+) (\d+)", fix):
            options[option.replace("-", "_")] = int(number)
        changes = [*changes, *re.findall(r"\S+=\S+", fix)]
        made = plan(*changes, recipe=recipe, gpu=gpu, **options)
        assert first not in made.findings, fix
        if made.ok:
            break
    assert made.ok, bad(made)


def test_where_nothing_fits_no_change_is_named():
    (line,) = bad(plan(recipe=RECIPE_405B, gpu="a100-40gb", gpus=8))
    assert "-> take a shorter max_length" in line


def test_bfloat16_on_a_gpu_without_it():
    *_, line = bad(plan(RECOMPUTE, gpu="v100"))
    keys = "model.torch_dtype_str, training.trainer_kwargs.tf32"
    assert line.startswith(f"{keys}: v100 has neither bfloat16 nor TF32 -> model.torch_dtype_str=")


def test_four_bits_without_bitsandbytes(monkeypatch: pytest.MonkeyPatch):
    config = read_recipe(PADDED, QLORA)
    assert not list(checks.check_quantisation(config, read_setup(config), here=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (finding,) = checks.check_quantisation(config, read_setup(config), here=True)
    assert (finding.ok, finding.fix) == (False, "pip install bitsandbytes (Linux)")
    assert not list(checks.check_quantisation(config, read_setup(config), here=False))


def test_liger_without_liger(monkeypatch: pytest.MonkeyPatch):
    setup = read_setup(read_recipe(RECIPE))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not list(checks.check_kernels(setup, here=False))
    (finding,) = checks.check_kernels(setup, here=True)
    assert (finding.ok, finding.fix.partition(",")[0]) == (False, "pip install 'coalm-oumi[gpu]'")
    without = read_setup(read_recipe(RECIPE, ["model.enable_liger_kernel=false"]))
    assert not list(checks.check_kernels(without, here=True))


def test_storage_of_four_bits_that_fsdp_cannot_shard():
    *_, line = bad(plan("peft.bnb_4bit_quant_storage=uint8", recipe=RECIPE_405B))
    assert line.endswith("peft.bnb_4bit_quant_storage=bfloat16")


def test_fsdp_may_be_the_trainers_own():
    own = [f"training.trainer_kwargs.{change}" for change in (
        "fsdp=true", "fsdp_config.reshard_after_forward=FULL_SHARD",
        "fsdp_config.activation_checkpointing=true",
    )]  # fmt: skip
    own += ["training.enable_gradient_checkpointing=false"]
    ours, theirs = plan(*QLORA, RECOMPUTE), plan(*QLORA, "fsdp.enable_fsdp=false", *own)
    assert theirs.setup.checkpointing
    assert theirs.setup.sharding == "full"
    assert theirs.moments["loss"].activations == ours.moments["loss"].activations
    assert theirs.moments["loss"].constants == ours.moments["loss"].constants


def test_a_row_without_padding_is_planned_by_its_budget():
    """One, two, four and eight GPUs keep the paper's batch, and fit."""
    (budget,) = {read_setup(read_recipe(RECIPE)).row_budget}
    for gpus in (1, 2, 4, 8):
        made = plan(f"training.per_device_train_batch_size={8 // gpus}", recipe=RECIPE, gpus=gpus)
        assert made.ok, bad(made)
        assert made.setup.tokens_at_once == min(budget or 0, 8 // gpus * 4096)
    whole = plan("training.trainer_kwargs.max_row_tokens=null", recipe=RECIPE, gpus=1)
    assert whole.setup.tokens_at_once == 8 * 4096
    assert "does not fit" in bad(whole)[0]


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_every_line_of_the_table_has_the_batch_that_is_meant(gpus: int):
    """Rows get shorter on more GPUs, and padded samples are accumulated on fewer."""
    for recipe in (RECIPE, PADDED):
        rows = {row.gpus: row for row in plan(recipe=recipe, gpus=gpus).clusters}
        assert {row.schedule.global_batch for n, row in rows.items() if n <= 8} == {8}
        assert rows[16].schedule.global_batch == 16
        shared = {n: (rows[n].samples, rows[n].accumulation) for n in (1, 2, 8)}
        expected = {1: (8, 1), 2: (4, 1), 8: (1, 1)}
        if recipe is PADDED:
            expected = {1: (1, 8), 2: (1, 4), 8: (1, 1)}
        assert shared == expected


def test_a_row_that_is_too_long_for_the_batch_names_the_samples_of_a_gpu():
    (line,) = bad(plan(recipe=RECIPE, gpus=2))
    assert "-> training.per_device_train_batch_size=4" in line
    (line,) = bad(plan("training.per_device_train_batch_size=1", recipe=RECIPE, gpus=4))
    assert "is 4, not 8 -> training.per_device_train_batch_size=2" in line


def test_offloaded_weights_wait_on_the_cpu():
    memory = plan(*QLORA, "fsdp.cpu_offload=true").moments["backward"]
    assert memory.weights == memory.optimizer == memory.gradients == 0
    assert memory.gathered > 0
    assert plan(*QLORA, "fsdp.cpu_offload=true", gpus=1).moments["backward"].gathered > 0


def test_without_a_number_the_gpus_make_the_batch():
    batch = ["training.per_device_train_batch_size=2", "training.gradient_accumulation_steps=4"]
    made = plan(*batch, RECOMPUTE)
    assert (made.gpus, made.ok) == (1, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.learning_rat=1", "Config error at 'training.learning_rat': Key 'learning_rat'"),
        ("training.num_train_epochs=x", "Config error at 'training.num_train_epochs'"),
        ("model.torch_dtype_str=bf17", "bf17"),
        ("nothing", "nothing: expected KEY=VALUE"),
        ("deepspeed.enable_deepspeed=true", "deepspeed.enable_deepspeed: the plan knows"),
        ("training.trainer_type=TRL_GRPO", "training.trainer_type TRL_GRPO: the plan knows"),
        ("training.optimizer=lion", "training.optimizer lion: the plan knows"),
        ("model.model_max_length=null", "model.model_max_length: set it"),
        (
            "model.model_max_length=-1",
            "model.model_max_length: expected a number above 0, found -1",
        ),
        ("training.per_device_train_batch_size=0", "batch_size: expected a number above 0"),
        (
            "training.trainer_kwargs={fsdp: true, fsdp_config: {cpu_offload: 'no'}}",
            "fsdp_config.cpu_offload: expected true or false, found 'no'",
        ),
        (
            "training.trainer_kwargs={max_row_tokens: '8192'}",
            "max_row_tokens: expected a whole number",
        ),
        (
            "training={use_peft: false, trainer_kwargs: {adapter_dtype: bfloat16}}",
            "adapter_dtype: the model has no adapters; set training.use_peft=true",
        ),
    ],
)
def test_a_bad_recipe_is_one_line(change: str, message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(PADDED), change]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]


@pytest.mark.e2e
def test_oumi_train_itself_stops_at_an_unknown_key(oumi):
    code, printed = oumi("train", "-c", RECIPE, "--training.learning_rat", "1")
    assert code == 1
    text = " ".join(printed.split())
    assert "Error: Config error at 'training.learning_rat': Key 'learning_rat' not in" in text
    assert "Traceback" not in text


def test_the_command_prints_tables_and_writes_json_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["plan", str(RECIPE), "--price", "2.5", "--output", str(tmp_path)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "the paper's 8 hours on 8 H100 (section 4.2) imply an MFU of 8.6%" in text
    assert "<- smallest that fits" in text
    record = read_json(tmp_path / "plan.json")
    assert record["bytes"]["loss"]["weights"] == 2 * 8_030_261_248
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plan", str(RECIPE), "--gpus", "3"]) == 1  # so that a script stops


def test_the_line_of_the_picture_does_not_cross_its_label():
    figure = show.bars(plan(recipe=RECIPE, gpus=1))
    figure.canvas.draw()
    (axes,) = figure.axes
    (label,) = axes.texts
    assert label.get_window_extent().y0 > axes.bbox.y1 + 2
    assert axes.get_xlabel() == "GiB on one h100"


def test_here_without_a_gpu_and_an_unknown_gpu(capsys: pytest.CaptureFixture[str]):
    import torch

    if not torch.cuda.is_available():
        assert main(["plan", str(RECIPE), "--here"]) == 1
        assert "--here: PyTorch finds no GPU" in capsys.readouterr().err
    assert main(["plan", str(RECIPE), "--gpu", "h9000"]) == 1
    assert f"use one of {', '.join(known_gpus())}" in capsys.readouterr().err


def test_here_runs_oumis_own_checks(tmp_path: Path):
    config = read_recipe(RECIPE, ["data.train.datasets[0].dataset_path=/no/such/place"])
    with pytest.raises(CoalmError, match="/no/such/place"):
        checks.check_config(config, place="recipe")


def test_data_of_a_build_and_of_an_ablation(mixture: Path):
    built = data_size(read_recipe(RECIPE, [f"data.train.datasets[0].dataset_path={mixture}"]))
    counts = read_json(mixture / "manifest.json")["samples"]["train"]
    assert built.samples == sum(counts.values())
    assert built.origin == f"{mixture}/manifest.json"
    without = read_recipe(RECIPE, ["data.train.datasets[0].dataset_kwargs.domains=[tod,cra]"])
    assert data_size(without).samples == 13_084 + 82_236
    packed = data_size(read_recipe(PADDED, ["training.trainer_kwargs.packing=true"]))
    assert packed == DataSize(51_572, 4096.0, "packed, the card of the published mixture")
    unbuilt = data_size(read_recipe(RECIPE, ["data.train.datasets[0].dataset_path=data/nosuch"]))
    assert unbuilt.samples == 311_583
    assert unbuilt.origin == "the paper's Table 1, since data/nosuch is not built yet"


def test_own_data_is_counted(tmp_path: Path):
    own = tmp_path / "own.jsonl"
    row = '{"instruction": "Say hello.", "input": "", "output": "Hello."}\n'
    own.write_text(row * 12)
    counted = data_size(read_recipe(RECIPE, [f"data.train.datasets[0].dataset_path={own}"]))
    assert (counted.samples, counted.origin) == (12, str(own))


def test_other_data_must_be_described():
    config = read_recipe(RECIPE, ["data.train.datasets[0].dataset_name=yahma/alpaca-cleaned"])
    with pytest.raises(CoalmError, match="--samples"):
        data_size(config)
    assert data_size(config, samples=10, tokens=5.0) == DataSize(10, 5.0, "as given")


def supervised() -> list[Path]:
    folders = (REPO / "recipes", *(REPO / "recipes" / name for name in FOLDERS))
    files = [file for folder in folders for file in sorted(folder.glob("coalm_*.yaml"))]
    said = {file: yaml.safe_load(file.read_text()) for file in files}
    return [
        file
        for file, recipe in said.items()
        if recipe["training"]["trainer_type"] == "TRL_SFT"
        and recipe["model"]["model_name"] in published()
    ]


@pytest.mark.parametrize("recipe", supervised(), ids=lambda file: file.stem)
def test_every_recipe_passes_its_own_plan_or_its_head_gives_the_flags(recipe: Path):
    head = recipe.read_text()
    found = re.search(r"#   coalm plan \S+ (.*)", head)
    arguments = found.group(1).split() if found else []
    assert main(["plan", str(recipe), *arguments]) == ("does not start on an H100" in head)


@pytest.mark.parametrize("stem", ["coalm_8b", "coalm_70b", "coalm_405b"])
def test_the_costs_in_the_documentation_are_the_plans(stem: str):
    made = plan(recipe=REPO / f"recipes/{stem}.yaml", price=2.5)
    (run_,) = (cluster.schedule for cluster in made.clusters if cluster.gpus == 8)
    row = f"| `{stem}.yaml` | {run_.hours} | {run_.gpu_hours} | {run_.cost} |"
    assert row in (REPO / "docs/index.md").read_text()
