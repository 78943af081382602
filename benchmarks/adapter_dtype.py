"""Losses of adapters in bfloat16 beside float32: `benchmarks/adapter_dtype.py MODEL MIXTURE`.

MODEL is SmolLM2 135M in bfloat16, such as the demo's (`output/demo/model`), MIXTURE a folder that
`coalm build` wrote (`output/demo/data`). `recipes/families/coalm_llama3.2_3b.yaml`, which has the
paper's LoRA and learning rate, trains the model through `oumi train` on the CPU: once with float32
adapters, once with float32 adapters that start from other values, and once with bfloat16 adapters,
whose optimizer keeps float32 masters. All three see the same samples, of up to 448 tokens, in the
same order. bfloat16 is within noise if it differs from the first run by no more than the second
does.

It measures losses but no times, because on a CPU the data type of the adapters hardly matters.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
RUNS = {
    "float32": ["--training.seed", "1"],
    "float32, other initial values": ["--training.seed", "2"],
    "bfloat16": ["--training.seed", "1", "--training.trainer_kwargs.adapter_dtype", "bfloat16"],
}


def losses(name: str, model: Path, mixture: Path, output: Path, options: list[str]) -> list[float]:
    """Trains, or reads what an earlier call trained, and returns the loss of each step."""
    place = output / name.replace(",", "").replace(" ", "_")
    state = place / "trainer_state.json"
    if not state.exists():
        oumi = Path(sys.executable).with_name("oumi")
        subprocess.run(
            [
                oumi, "train", "-c", REPO / "recipes/families/coalm_llama3.2_3b.yaml",
                "--model.tokenizer_pad_token", "<|endoftext|>",
                "--model.model_name", model.resolve(), "--model.model_max_length", "448",
                "--data.train.datasets[0].dataset_path", mixture.resolve(),
                "--training.output_dir", place, "--training.logging_steps", "1",
                "--training.save_steps", "0", "--training.data_seed", "42",
                "--training.enable_gradient_checkpointing", "false",
                "--training.per_device_train_batch_size", "1", *options,
            ],
            check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    history = json.loads(state.read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def main() -> None:
    """Prints how far the losses of each run are from those of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=2, help="samples of a step; the recipe has 8")
    parser.add_argument("--output", type=Path, default=Path("output/adapter_dtype"))
    options = parser.parse_args()
    changes = [
        "--training.max_steps", str(options.steps),
        "--training.gradient_accumulation_steps", str(options.batch),
    ]  # fmt: skip
    found = {
        name: losses(name, options.model, options.mixture, options.output, [*changes, *extra])
        for name, extra in RUNS.items()
    }
    base = found["float32"]
    last = slice(-(len(base) // 4), None)
    print("adapters | mean loss | of the last quarter | mean difference of a step to the first run")
    for name, values in found.items():
        difference = statistics.mean(abs(a - b) for a, b in zip(values, base, strict=True))
        print(
            f"{name} | {statistics.mean(values):.4f} | {statistics.mean(values[last]):.4f} | "
            f"{difference:.4f}"
        )


if __name__ == "__main__":
    main()
