"""Kernels and host time of a training step, without a GPU: our recipes beside what Oumi published.

    python benchmarks/launches.py                   # 8B: published by Oumi, and ours
    python benchmarks/launches.py RECIPE.yaml "RECIPE.yaml training.optimizer=adamw_torch"

A step that launches thousands of small kernels takes as long as the host needs to launch them. Each
recipe, with its changes, runs through the real `oumi train` on the CPU, with Llamas of one and of
five narrow layers and with short samples, because neither width nor length changes which operators
run. The difference per layer is then counted for each layer of the recipe's model.

Counted are the operators that PyTorch dispatches to compute, without views and allocations. An
operator is one kernel. An operator over a list of tensors (`_foreach_*`, `_fused_*`) is as many
kernels as CUDA splits the list into; the optimizer takes this form, as on a GPU. Triton's kernels
(Liger; `pip install --no-deps liger-kernel`) are counted but not run. Reads are numbers that the
host takes from a tensor, for each of which it would wait for the GPU; those of logging happen every
`logging_steps` steps. Host time is the wall time of other steps of the same run. It includes the
arithmetic of the narrow layers and no driver, so it compares recipes and does not predict another
machine.

FSDP is left out, because there is one process. So the published recipe does not move its weights to
the CPU and back, which is in its favour. A row of samples of Table 1's mean length that
`max_row_tokens` splits counts as one pass per part. The ratios are to the first recipe.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
RECIPES = [
    REPO / "recipes" / name
    for name in (
        "variants/coalm_8b_published.yaml",
        "variants/coalm_8b_throughput.yaml",
        "coalm_8b.yaml",
    )
]
PARTS = ("forward", "recompute", "backward", "optimizer", "metrics", "logging", "rest")
WARM_UP, TIMED, COUNTED = 3, 12, 2
LAYERS = (1, 5)
SAMPLES = 8
"""The paper's batch, to which all figures are scaled."""
MEAN_TOKENS = 709
"""Tokens of a sample of Table 1's mixture on average, as in docs/training.md."""
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach",
             "_unsafe_view", "lift_fresh", "set_", "_local_scalar_dense", "is_same_size",
             "resize_"}  # fmt: skip
DEPTHS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""Tensors to a launch by how many lists it walks (ATen/native/cuda/MultiTensorApply.cuh)."""


class Meter:
    """Charges time, kernels and reads to the part of the step that is running."""

    def __init__(self) -> None:
        """Starts outside every part."""
        self.stack = ["rest"]
        self.seconds: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.since = time.perf_counter()

    def charge(self) -> None:
        """Charges the time since the last change of part."""
        now = time.perf_counter()
        self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Runs a part. One inside another is charged by itself."""
        self.charge()
        self.stack.append(name)
        try:
            yield
        finally:
            self.charge()
            self.stack.pop()

    def wrap(self, owner: Any, method: str, part: Callable[[], str]) -> None:
        """Makes a method count as a part of the step."""
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.part(part()):
                return inner(*args, **kwargs)

        setattr(owner, method, wrapper)


def launches(name: str, args: tuple[Any, ...]) -> float:
    """Returns how many kernels an operator launches, 0 where it computes nothing.

    A list of tensors gives a fraction, so that the lists of all layers add up.
    """
    if name in NO_KERNEL or name.startswith("profiler::"):
        return 0
    if not name.startswith(("_foreach_", "_fused_")):
        return 1
    lists = [value for value in args if isinstance(value, list) and value]
    depth = sum(hasattr(values[0], "shape") for values in lists)
    if name.startswith("_foreach_") and not name.endswith("_"):
        depth += 1  # the result
    return len(lists[0]) / DEPTHS[min(max(depth, 1), 5)]


def count_into(meter: Meter) -> Any:
    """Returns a mode in which PyTorch tells the meter of every operator."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name.removeprefix("aten::")
            if name == "_local_scalar_dense":
                # The optimizer's own step counts lie on the host.
                meter.reads[meter.stack[-1]] += meter.stack[-1] != "optimizer"
            elif not func.is_view:
                found = launches(name, args)
                meter.kernels[meter.stack[-1]] += found
                meter.operators[name] += found
            return func(*args, **(kwargs or {}))

    return Count()


def train(recipe: str, changes: list[str]) -> dict[str, Any]:
    """Trains in this process and returns what was measured, by part."""
    import accelerate
    import accelerate.optimizer
    import peft
    import transformers
    import trl
    from oumi.core.configs import TrainingConfig
    from oumi.train import train as oumi_train

    meter = Meter()
    counting = count_into(meter)
    times: list[Counter[str]] = []

    class Steps(transformers.TrainerCallback):
        """Times some steps, then counts some."""

        step = 0

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.step += 1
            meter.charge()
            meter.seconds.clear()
            if self.step == WARM_UP + TIMED + 1:
                counting.__enter__()

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            """Comes last in a step, since the recipe is changed to log each of them."""
            if WARM_UP < self.step <= WARM_UP + TIMED:
                meter.charge()
                times.append(meter.seconds.copy())
            if self.step == WARM_UP + TIMED + COUNTED:
                counting.__exit__(None, None, None)
                self.step += 1

    callbacks: list[Any] = transformers.trainer.DEFAULT_CALLBACKS
    callbacks.append(Steps)
    config = TrainingConfig.from_yaml_and_arg_list(recipe, changes)
    config.finalize_and_validate()

    model = transformers.LlamaForCausalLM
    layer = transformers.models.llama.modeling_llama.LlamaDecoderLayer
    meter.wrap(trl.SFTTrainer, "compute_loss", lambda: "metrics")
    meter.wrap(peft.PeftModelForCausalLM, "__call__", lambda: "forward")
    meter.wrap(model, "__call__", lambda: "forward")
    meter.wrap(accelerate.Accelerator, "backward", lambda: "backward")
    meter.wrap(
        layer, "forward", lambda: "recompute" if "backward" in meter.stack else meter.stack[-1]
    )
    meter.wrap(accelerate.Accelerator, "clip_grad_norm_", lambda: "optimizer")
    meter.wrap(accelerate.optimizer.AcceleratedOptimizer, "step", lambda: "optimizer")
    meter.wrap(transformers.Trainer, "_maybe_log_save_evaluate", lambda: "logging")
    # On a GPU the optimizer takes lists of tensors unless a recipe asks for the fused one.
    adam: Any = importlib.import_module("torch.optim.adam")
    adam._default_to_fused_or_foreach = lambda *_, **__: (False, True)
    if importlib.util.find_spec("triton"):
        count_triton(meter)
    oumi_train(config)
    return {
        "kernels": {part: meter.kernels[part] / COUNTED for part in PARTS},
        "operators": {name: n / COUNTED for name, n in meter.operators.most_common(40)},
        "reads": {part: n / COUNTED for part, n in meter.reads.items() if n},
        "seconds": {part: statistics.median(t[part] for t in times) for part in PARTS},
        "step": statistics.median(sum(t.values()) for t in times),
        "spread": [min(sum(t.values()) for t in times), max(sum(t.values()) for t in times)],
    }


def count_triton(meter: Meter) -> None:
    """Counts Triton's kernels in place of running them."""
    import types

    import torch
    import triton

    def run(kernel: Any, *args: Any, **kwargs: Any) -> None:
        meter.kernels[meter.stack[-1]] += bool(meter_is_counting())
        meter.operators[f"triton {kernel.__name__}"] += bool(meter_is_counting())

    def meter_is_counting() -> bool:
        return bool(torch.utils._python_dispatch._get_current_dispatch_mode())

    triton.runtime.JITFunction.run = run
    card = types.SimpleNamespace(multi_processor_count=132, name="H100")
    torch.cuda.get_device_properties = lambda *_: card


def write_model(folder: Path, layers: int) -> Path:
    """Writes a narrow Llama with a tokenizer of bytes and a ChatML template."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers

    place = folder / f"llama-{layers}"
    alphabet = {char: n for n, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(place)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=1, head_dim=16,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(place)
    return place


def worker(recipe: str, folder: Path, changes: list[str]) -> None:
    """Trains a recipe's model with as many layers as the folder's name says; prints figures."""
    from coalm_oumi.training.recipe import read_recipe

    training = read_recipe(Path(recipe), changes).training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    steps = WARM_UP + TIMED + COUNTED
    data = folder / "samples.jsonl"
    sample = {"instruction": "Hi", "input": "", "output": "Yes"}
    data.write_text("".join(json.dumps(sample) + "\n" for _ in range(steps * batch)))
    changes = [
        *changes, f"model.model_name={folder}", "model.tokenizer_pad_token=<|endoftext|>",
        f"data.train.datasets[0].dataset_path={data}", "fsdp.enable_fsdp=false",
        "model.attn_implementation=sdpa",
        f"training.max_steps={steps}", "training.logging_steps=1", "training.save_steps=0",
        "training.save_final_model=false", f"training.output_dir={folder / 'output'}",
        "training.dataloader_num_workers=0", "training.dataloader_prefetch_factor=null",
    ]  # fmt: skip
    print("MEASURED", json.dumps(train(recipe, changes) | {"batch": batch}))


def measure(recipe: Path, changes: list[str], folder: Path) -> dict[str, Any]:
    """Measures a recipe in separate processes; returns figures for all layers of its model."""
    from coalm_oumi.training.plan.shape import read_config
    from coalm_oumi.training.recipe import read_recipe

    found = []
    for layers in LAYERS:
        place = write_model(folder, layers)
        done = subprocess.run(
            [sys.executable, __file__, "--worker", str(recipe), str(place), *changes],
            capture_output=True, text=True, cwd=REPO,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
        if not lines:
            raise SystemExit(f"{recipe}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        found.append(json.loads(lines[0].removeprefix("MEASURED ")))
    config = read_recipe(recipe, changes)
    others = read_config(config.model.model_name).num_hidden_layers - LAYERS[0]
    few, more = found

    def extended(key: str) -> dict[str, float]:
        between = LAYERS[1] - LAYERS[0]
        return {
            part: few[key][part] + others * (more[key][part] - few[key][part]) / between
            for part in PARTS
        }

    return {
        "samples": few["batch"], "passes": passes(config), "kernels": extended("kernels"),
        "seconds": extended("seconds"), "reads": few["reads"], "layers": found,
    }  # fmt: skip


def passes(config: Any) -> int:
    """Returns the parts into which `max_row_tokens` splits a row of samples of mean length."""
    training = config.training
    budget = training.trainer_kwargs.get("max_row_tokens")
    if not budget:
        return 1
    together = max(1, budget // MEAN_TOKENS)
    return -(-training.per_device_train_batch_size // together)


def show(name: str, found: dict[str, Any], base: dict[str, Any]) -> None:
    """Prints kernels and host time of all passes over the same number of samples."""

    def total(of: dict[str, Any], key: str) -> float:
        """Adds the parts of a step, those of a pass as often as there are passes."""
        of_step = ("optimizer", "logging", "rest")
        a_step = sum(n * (1 if part in of_step else of["passes"]) for part, n in of[key].items())
        return a_step * SAMPLES / of["samples"]

    kernels, seconds = total(found, "kernels"), total(found, "seconds")
    parts = ", ".join(f"{part} {n:,.0f}" for part, n in found["kernels"].items() if n >= 0.5)
    times = ", ".join(f"{part} {1e3 * n:,.0f}" for part, n in found["seconds"].items())
    reads = ", ".join(f"{part} {n:g}" for part, n in found["reads"].items()) or "none"
    print(name)
    print(
        f"  per {SAMPLES} samples: {kernels:,.0f} kernels, "
        f"{total(base, 'kernels') / kernels:.1f}x; {1e3 * seconds:,.0f} ms of the host, "
        f"{total(base, 'seconds') / seconds:.1f}x"
    )
    print(f"  a pass ({found['passes']} a step), kernels: {parts}; ms: {times}; "
          f"reads: {reads}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="a file, then changes to it")
    parser.add_argument("--output", type=Path, help="a JSON file to write as well")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        recipe, folder, *changes = options.worker
        return worker(recipe, Path(folder), changes)
    measured: dict[str, dict[str, Any]] = {}
    for given in options.recipes or map(str, RECIPES):
        recipe, *changes = shlex.split(given)
        name = " ".join([Path(recipe).stem, *changes])
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = measure(Path(recipe), changes, Path(folder))
        show(name, measured[name], next(iter(measured.values())))
    if options.output:
        options.output.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
