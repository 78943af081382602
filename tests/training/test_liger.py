"""Liger's kernels on rows without padding, through the real `oumi train`."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("liger_kernel") is None, reason="liger-kernel is not installed"
)


SAMPLES = [
    {"instruction": "Hi", "input": "", "output": "Hello, you"},
    {"instruction": "Add", "input": "2 and 3", "output": "5"},
] * 2
"""Short ones: the interpreter takes milliseconds for each token and kernel."""


def train(
    output: Path, model: Path, mixture: Path, *changes: str
) -> tuple[list[dict[str, float]], str]:
    """Trains by the 8B recipe, in float32 on the CPU; returns what each step logged, and kernels."""
    program = [REPO / "tests/support/triton_on_cpu.py", "-m", "oumi"]
    options = {
        "model.model_name": model,
        "model.tokenizer_pad_token": "<|endoftext|>",
        "model.torch_dtype_str": "float32",
        "data.train.datasets[0].dataset_path": mixture,
        "data.train.datasets[0].dataset_kwargs": "{max_length: 400}",
        "training.max_steps": 2,
        "training.per_device_train_batch_size": 2,
        "training.learning_rate": 0.01,
        "training.logging_steps": 1,
        "training.save_steps": 0,
        "training.output_dir": output,
        "training.trainer_kwargs.adapter_dtype": "float32",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, *program, "train", "-c", REPO / "recipes/coalm_8b.yaml", *words, *changes],
        capture_output=True, text=True, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    _, _, kernels = done.stdout.rpartition("KERNELS")
    return [entry for entry in history if "loss" in entry], kernels


def test_fused_kernels_lose_what_the_plain_ones_do(tiny_model: Path, tmp_path: Path):
    """Losses and gradient norms of two steps: norms, SwiGLU, positions and the output layer."""
    mixture = tmp_path / "samples.jsonl"
    mixture.write_text("".join(json.dumps(sample) + "\n" for sample in SAMPLES))
    plain, none = train(
        tmp_path / "plain", tiny_model, mixture, "--model.enable_liger_kernel", "false"
    )
    fused, kernels = train(tmp_path / "fused", tiny_model, mixture)
    assert not none.strip()
    for kernel in ("rms_norm", "swiglu", "rope", "cross_entropy"):
        assert kernel in kernels, kernels
    for key in ("loss", "grad_norm"):
        assert [step[key] for step in fused] == pytest.approx(
            [step[key] for step in plain], rel=1e-4
        )
