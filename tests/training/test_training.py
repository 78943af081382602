"""Trains the recipes with only the model replaced by a tiny Llama."""

import json
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from tests.conftest import REPO, run
from tests.support.threads import one_thread  # noqa: F401

RECIPES = REPO / "recipes"
STEPS = 4


def changes(recipe: str, model: Path, mixture: Path, output: Path) -> list[str]:
    """What a trial changes in a recipe: the model, the data's place, and how long it runs."""
    return [
        f"model.model_name={model}",
        "model.tokenizer_pad_token=<|endoftext|>",
        "model.enable_liger_kernel=false",  # needs a GPU
        f"data.train.datasets[0].dataset_path={mixture}",
        f"training.max_steps={STEPS}",
        f"training.save_steps={STEPS // 2}",
        "training.logging_steps=1",
        "training.learning_rate=0.01",
        f"training.output_dir={output}",
    ]


def losses(output: Path) -> list[float]:
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.fixture(scope="session")
def distributed(tiny_model: Path, mixture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three recipes on two processes, each a second time from its middle."""
    folder = tmp_path_factory.mktemp("distributed")
    runs = []
    for recipe in ("coalm_8b", "coalm_70b", "coalm_405b"):
        for output in (folder / recipe, folder / f"{recipe}_resumed"):
            given = changes(recipe, tiny_model, mixture, output)
            if recipe == "coalm_8b":  # Oumi would name a GPU for each process
                given += ["model.device_map=cpu", "training.per_device_train_batch_size=1"]
            if output.name.endswith("_resumed"):
                checkpoint = folder / recipe / f"checkpoint-{STEPS // 2}"
                given.append(f"training.resume_from_checkpoint={checkpoint}")
            runs.append([str(RECIPES / f"{recipe}.yaml"), *given])
    done = run(
        "torchrun", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "localhost:0", REPO / "tests/support/two_processes.py", json.dumps(runs),
        cwd=folder, OMP_NUM_THREADS="1", PYTHONPATH=":".join([str(REPO), *sys.path]),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


@pytest.mark.e2e
def test_the_8b_recipe_trains_lora_on_all_linear_layers(distributed: Path):
    trained = distributed / "coalm_8b"
    adapter = json.loads((trained / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (16, 32, 0)
    weights = safetensors.torch.load_file(trained / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # two layers, seven linear layers each, A and B
    assert all(w.abs().max() > 0 for w in weights.values()), "every B has left zero"


@pytest.mark.e2e
@pytest.mark.parametrize("recipe", ["coalm_8b", "coalm_70b", "coalm_405b"])
def test_two_processes_train_and_resume_with_the_same_losses(distributed: Path, recipe: str):
    """Copies of the model, shards of it, and shards of it in nf4."""
    first, resumed = losses(distributed / recipe), losses(distributed / f"{recipe}_resumed")
    assert len(first) == STEPS
    assert resumed == pytest.approx(first, rel=1e-6)
    assert (distributed / recipe / "adapter_model.safetensors").is_file()


@pytest.mark.e2e
def test_shards_learn_what_copies_learn(distributed: Path):
    """The same samples in the same order: FSDP changes where weights lie, not what is learned."""
    copies, shards = losses(distributed / "coalm_8b"), losses(distributed / "coalm_70b")
    # Until B leaves zero in the second step, the adapter's random A plays no part.
    assert shards[:2] == pytest.approx(copies[:2], rel=2e-3)
    nf4 = losses(distributed / "coalm_405b")
    assert nf4[0] == pytest.approx(copies[0], rel=0.05)
    assert nf4[0] != copies[0]


@pytest.mark.e2e
@pytest.mark.usefixtures("one_thread")
def test_packed_rows_lose_what_their_samples_lose(
    tiny_model: Path, mixture: Path, tmp_path: Path, tokenizer: transformers.PreTrainedTokenizerBase
):
    """The throughput recipe: no sample sees another, and the loss falls on the targets."""
    from oumi.builders import build_dataset_mixture
    from oumi.core.configs import DatasetSplit, TrainingConfig
    from trl import SFTConfig, SFTTrainer

    recipe = TrainingConfig.from_yaml(RECIPES / "variants/coalm_8b_throughput.yaml")
    (data,) = recipe.data.train.datasets
    data.dataset_path, data.dataset_kwargs["sources"] = str(mixture), ["snips"]
    data.sample_count = 8
    tokenizer.model_max_length = 4096
    samples = build_dataset_mixture(recipe.data, tokenizer, DatasetSplit.TRAIN)  # pyright: ignore
    options = recipe.training.trainer_kwargs
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=samples,
        args=SFTConfig(
            output_dir=str(tmp_path),
            max_length=4096,
            use_cpu=True,
            bf16=False,
            report_to="none",
            **{k: v for k, v in options.items() if k not in ("max_length", "use_liger_kernel")},
        ),
    )
    (row,) = trainer.train_dataset
    assert sorted(row["seq_lengths"]) == sorted(len(s["input_ids"]) for s in samples)
    batch = trainer.data_collator([row])
    targets = 0
    total = 0.0
    for sample in samples:
        ids = torch.tensor([sample["input_ids"]])
        labels = ids.masked_fill(torch.tensor([sample["completion_mask"]]) == 0, -100)
        count = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=ids, labels=labels).loss.item() * count
        targets += count
    assert int((batch["labels"] != -100).sum()) == targets
    assert model(**batch).loss.item() == pytest.approx(total / targets, rel=1e-4)
