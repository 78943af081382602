"""The plan's memory and hours beside a GPU's: `torch.cuda.max_memory_allocated` and real steps.

    python benchmarks/plan_on_gpu.py recipes/coalm_8b.yaml [KEY=VALUE ...] [--gpu h100] [--steps 10]

Takes a recipe's model with random weights, which is as large and as fast as the real one, and its
LoRA, type, length, checkpointing and optimizer, on one GPU. Sequences are as long as the recipe
allows. The last lines print the ratio of planned to measured bytes (the goal is 0.9 to 1.1), what
the context and the caching allocator took beside tensors, non-padding tokens a second and the MFU.

It has not been run on a GPU yet. On a CPU, tests/test_plan_memory.py makes the first comparison.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import get_peft_model

from coalm_oumi.plan.gpus import gpu_by_name
from coalm_oumi.plan.memory import peak, plan_memory
from coalm_oumi.plan.schedule import flops_per_token
from coalm_oumi.plan.setup import Setup, read_recipe, read_setup
from coalm_oumi.plan.shape import measure, read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--gpu", default="h100")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    config = read_recipe(options.recipe, options.changes)
    setup = read_setup(config)
    if setup.four_bit or setup.sharding != "none" or setup.loss != "nll":
        parser.error("one GPU, no 4-bit weights and the plain loss only")
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU on this machine")
    peft = config.peft if config.training.use_peft else None
    hf_config: Any = read_config(config.model.model_name)
    shape = measure(config.model.model_name, hf_config, peft)
    moments = plan_memory(shape, setup, gpus=1)
    planned = moments[peak(moments)]

    with torch.device("cuda"):
        torch.set_default_dtype(config.model.torch_dtype or torch.float32)
        model: Any = transformers.AutoModelForCausalLM.from_config(
            hf_config, attn_implementation=config.model.attn_implementation
        )
        torch.set_default_dtype(torch.float32)
    model.config.use_cache = False
    if peft is not None:
        model = get_peft_model(model, peft.to_lora())
    if setup.checkpointing:
        model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs=config.training.gradient_checkpointing_kwargs
        )
        model.enable_input_require_grads()
    seconds = train(model.train(), setup, shape.vocabulary, options.steps)

    measured = torch.cuda.max_memory_allocated()
    free, total = torch.cuda.mem_get_info()
    tokens = setup.micro_batch * setup.tokens
    speed = gpu_by_name(options.gpu).tflops * 1e12
    work = tokens * flops_per_token(shape, tokens=setup.tokens)
    print(f"{torch.cuda.get_device_name()}: {shape.name}, {tokens} tokens a step")
    print(f"tensors, planned   {planned.tensors / 2**30:>10.2f} GiB")
    print(f"tensors, measured  {measured / 2**30:>10.2f} GiB")
    print(f"beside tensors     {(total - free - measured) / 2**30:>10.2f} GiB")
    print(f"  assumed          {planned.overhead / 2**30:>10.2f} GiB")
    print(f"planned / measured {planned.tensors / measured:>10.3f}")
    print(f"tokens/s           {tokens / seconds:>10,.0f}")
    print(f"MFU                {work / seconds / speed:>10.1%}")


def train(model: torch.nn.Module, setup: Setup, vocabulary: int, steps: int) -> float:
    """Trains, and returns the seconds that a step takes after the first two."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = setup.optimizer == "adamw_torch_fused"
    optimizer = torch.optim.AdamW(trained, fused=fused)
    ids = torch.randint(0, vocabulary, (setup.micro_batch, setup.tokens), device="cuda")
    began = 0.0
    for number in range(steps + 2):
        if number == 2:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    main()
