"""Graphs, breaks and recompilations of torch.compile in a LoRA training step.

    python benchmarks/graph_breaks.py [--lengths 12]

A narrow Llama with adapters on all linear layers, as in `recipes/coalm_8b.yaml`, runs forward and
backward over rows of different lengths, once as the padded batch (with a mask) and once as a row of
several samples (positions start from 0 at each, no mask). TorchDynamo traces it with the backend
`eager`, which compiles nothing, so this needs neither GPU nor compiler. It counts the graphs and
breaks of one pass (`torch._dynamo.explain`), and how often code is compiled for all lengths: layer
by layer, as regional compilation does, and for the whole model, as `torch_compile` does.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch._dynamo import utils as dynamo

from coalm_oumi.training.masters import cast_trained

LAYERS = 4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Prints what was counted for padded batches and for rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, default=12)
    options = parser.parse_args()
    for dtype in (torch.float32, torch.bfloat16):
        for kind, make in (("padded", padded), ("row", row)):
            name = f"{str(dtype).removeprefix('torch.')} adapters, {kind}"
            torch._dynamo.reset()
            explained = torch._dynamo.explain(build(dtype))(**make(64))
            reasons = {str(reason.reason).splitlines()[0] for reason in explained.break_reasons}
            print(
                f"{name}: {explained.graph_count} graphs, {explained.graph_break_count} breaks "
                f"{sorted(reasons) or ''}"
            )
            batches = [make(32 + 8 * n) for n in range(options.lengths)]
            for region in (False, True):
                graphs, seen = compiled(build(dtype), batches, region=region)
                what = f"{LAYERS} layers, each compiled" if region else "compiled whole"
                print(
                    f"  {what}, {options.lengths} lengths: {graphs} graphs compiled, the last at "
                    f"length {seen}",
                    flush=True,
                )


def build(dtype: torch.dtype) -> Any:
    """Builds the model, with adapters of a type."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=1, attn_implementation="sdpa",
    )  # fmt: skip
    model: Any = transformers.LlamaForCausalLM(config).bfloat16()
    model = get_peft_model(model, LoraConfig(target_modules=LINEAR), autocast_adapter_dtype=False)
    cast_trained(model, dtype)
    model.config.use_cache = False
    return model.train()


def padded(length: int) -> Mapping[str, torch.Tensor]:
    """A batch of two samples, the second of them shorter."""
    ids = torch.arange(2 * length).reshape(2, length) % 64
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids}


def row(length: int) -> Mapping[str, torch.Tensor]:
    """Two samples in a row without padding."""
    ids = torch.arange(length)[None] % 64
    first = length // 3
    positions = torch.cat([torch.arange(first), torch.arange(length - first)])[None]
    return {"input_ids": ids, "position_ids": positions, "labels": ids}


def compiled(
    model: Any, batches: list[Mapping[str, torch.Tensor]], *, region: bool
) -> tuple[int, int]:
    """Runs batches compiled.

    Returns:
        How many graphs were compiled, and the length at which the last of them was.
    """
    torch._dynamo.reset()
    dynamo.counters.clear()
    if region:
        for layer in model.base_model.model.model.layers:
            layer.compile(backend="eager")
    else:
        model.compile(backend="eager")
    graphs = last = 0
    for batch in batches:
        model(**batch).loss.backward()
        now = dynamo.counters["stats"]["unique_graphs"]
        if now > graphs:
            graphs, last = now, batch["input_ids"].shape[1]
    return graphs, last


if __name__ == "__main__":
    main()
