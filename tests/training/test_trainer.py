"""A batch as one row without padding, through the real `oumi train`: losses and gradients."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.training.trainer import CoalmSftConfig, CoalmSftTrainer, split_row
from tests.conftest import REPO
from tests.support.threads import one_thread  # noqa: F401

ROW = (
    "data.train.collator_name=null",
    "model.model_max_length=null",
    "data.train.datasets[0].dataset_kwargs={sources: [snips], max_length: 400}",
)
PADDED = (
    "model.model_max_length=400",
    "data.train.datasets[0].dataset_kwargs={sources: [snips]}",
)
FREE = "padding_free: true, max_length: null, save_total_limit: 1"


def train(model: Path, mixture: Path, output: Path, *changes: str) -> dict[str, torch.Tensor]:
    """Runs what `oumi train` runs, the demo's recipe for two steps; returns the adapter."""
    from oumi.core.configs import TrainingConfig
    from oumi.core.distributed import set_random_seeds
    from oumi.train import train as oumi_train

    options = [
        f"model.model_name={model}",
        "model.torch_dtype_str=float32",
        f"data.train.datasets[0].dataset_path={mixture}",
        f"training.output_dir={output}",
        "training.max_steps=2",
        "data.train.datasets[0].sample_count=8",
        "training.logging_steps=1",
        "training.learning_rate=0.01",
        "training.warmup_ratio=0.0",
        "training.per_device_train_batch_size=4",
        *changes,
    ]
    recipe = str(REPO / "recipes/coalm_demo.yaml")
    config = TrainingConfig.from_yaml_and_arg_list(recipe, options)
    config.finalize_and_validate()
    set_random_seeds(config.training.seed, config.training.use_deterministic)
    oumi_train(config)
    return safetensors.torch.load_file(output / "adapter_model.safetensors")


def log_of(output: Path) -> list[dict[str, float]]:
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


@pytest.mark.usefixtures("one_thread")
def test_one_row_loses_and_learns_what_the_padded_batch_does(
    tiny_model: Path, mixture: Path, tmp_path: Path
):
    """Losses, gradients and adapters after two steps; whole rows, and rows in parts.

    The parts also take the loss in chunks, as the demo's recipe does.
    """
    padded = train(tiny_model, mixture, tmp_path / "padded", *PADDED)
    kwargs = f"training.trainer_kwargs={{{FREE}}}"
    row = train(tiny_model, mixture, tmp_path / "row", *ROW, kwargs)
    kwargs = f"training.trainer_kwargs={{{FREE}, max_row_tokens: 500, token_metrics: false, loss_type: chunked_nll}}"
    parts = train(tiny_model, mixture, tmp_path / "parts", *ROW, kwargs)

    expected = log_of(tmp_path / "padded")
    for name, adapter in (("row", row), ("parts", parts)):
        found = log_of(tmp_path / name)
        for key in ("loss", "grad_norm"):
            values = [step[key] for step in found]
            assert values == pytest.approx([step[key] for step in expected], rel=1e-4), name
        for weight, value in padded.items():
            torch.testing.assert_close(adapter[weight], value, rtol=2e-2, atol=2e-4)
    assert "mean_token_accuracy" in log_of(tmp_path / "row")[0]
    assert "mean_token_accuracy" not in log_of(tmp_path / "parts")[0]


def test_a_row_splits_between_samples():
    lengths = (3, 4, 9, 1, 2)
    position_ids = torch.cat([torch.arange(n) for n in lengths])[None]
    ids = torch.arange(sum(lengths))[None]
    parts = split_row({"input_ids": ids, "labels": ids, "position_ids": position_ids}, 8)
    assert [part["input_ids"].shape[1] for part in parts] == [7, 9, 3]
    assert torch.equal(torch.cat([part["labels"] for part in parts], dim=1), ids)
    assert all(part["position_ids"][0, 0] == 0 for part in parts)
    (whole,) = split_row({"input_ids": ids, "position_ids": position_ids}, 100)
    assert torch.equal(whole["input_ids"], ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter_dtype": "float16"}, "adapter_dtype: input should be 'float32' or 'bfloat16'"),
        ({"max_row_tokens": 100}, "add padding_free: true"),
        ({"max_row_tokens": 0, "padding_free": True}, "max_row_tokens: input should be greater"),
        ({"max_row_tokens": 9, "padding_free": True, "fsdp": "full_shard"}, "FSDP needs the same"),
        ({"adapter_dtype": "bfloat16", "fsdp": "full_shard"}, "FSDP casts adapters itself"),
    ],
)
def test_bad_options(options: dict[str, object], message: str, tmp_path: Path):
    with pytest.raises(CoalmError, match=message):
        CoalmSftConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **options)  # pyright: ignore


def test_fsdp_may_be_oumis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Its section `fsdp` becomes a variable of Accelerate."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(CoalmError, match="FSDP casts adapters itself"):
        CoalmSftConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, adapter_dtype="bfloat16")


class Reads(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors: on a GPU, it waits for each."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def small_trainer(
    tiny_model: Path, tokenizer, output: Path, *, adapters: bool = True, **options: object
) -> CoalmSftTrainer:
    import datasets
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    ids = list(range(40, 60))
    rows = [{"input_ids": ids[:n], "labels": [-100, *ids[1:n]]} for n in (20, 9, 14, 17)]
    return CoalmSftTrainer(
        model=peft.get_peft_model(model, config) if adapters else model,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
        args=CoalmSftConfig(
            output_dir=str(output),
            use_cpu=True,
            bf16=False,
            report_to="none",
            max_length=None,
            padding_free=True,
            per_device_train_batch_size=4,
            dataset_kwargs={"skip_prepare_dataset": True},
            **options,  # pyright: ignore[reportArgumentType]
        ),
    )


def test_without_the_metrics_the_host_waits_for_nothing(
    tiny_model: Path, tokenizer, tmp_path: Path
):
    reads = {}
    for metrics in (True, False):
        trainer = small_trainer(tiny_model, tokenizer, tmp_path, token_metrics=metrics)
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.training_step(trainer.model, dict(batch), torch.tensor(56))  # compiles masks
        with Reads() as counted:
            trainer.training_step(trainer.model, dict(batch), torch.tensor(56))
        reads[metrics] = counted.count
    assert reads[True] - reads[False] >= 3, reads


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_type_of_adapters_without_adapters_is_refused(
    dtype: str, tiny_model: Path, tokenizer, tmp_path: Path
):
    """Else the whole model would be cast, or get masters, which the plan does not count."""
    message = "adapter_dtype: the model has no adapters; set training.use_peft: true, or remove"
    with pytest.raises(CoalmError, match=message):
        small_trainer(tiny_model, tokenizer, tmp_path, adapters=False, adapter_dtype=dtype)


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
def test_the_type_of_the_adapters(dtype: str | None, tiny_model: Path, tokenizer, tmp_path: Path):
    trainer = small_trainer(tiny_model, tokenizer, tmp_path, adapter_dtype=dtype)
    found = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert found == {torch.bfloat16 if dtype == "bfloat16" else torch.float32}
    batch = next(iter(trainer.get_train_dataloader()))
    assert torch.isfinite(trainer.training_step(trainer.model, batch, torch.tensor(56)))


def test_a_checkpoint_does_not_change_the_type_of_the_adapters(
    tiny_model: Path, tokenizer, tmp_path: Path
):
    trainer = small_trainer(tiny_model, tokenizer, tmp_path, adapter_dtype="bfloat16")
    trainer.save_model(str(tmp_path / "checkpoint"))
    trainer._load_from_checkpoint(str(tmp_path / "checkpoint"))
    found = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert found == {torch.bfloat16}


def test_tf32_is_for_gpus(tmp_path: Path):
    assert not torch.cuda.is_available()
    assert (
        CoalmSftConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, tf32=True).tf32 is None
    )


def test_oumi_builds_our_trainer():
    import trl
    from oumi.core.registry import REGISTRY

    assert REGISTRY.get_dataset("coalm-oumi/mixture") is not None  # loads the plug-in
    assert trl.SFTTrainer is CoalmSftTrainer
    assert trl.SFTConfig is CoalmSftConfig
