"""The plan's kernels against what a small model dispatches: the same operators at any width."""

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from coalm_oumi.training.masters import cast_trained
from coalm_oumi.training.plan.setup import read_setup
from coalm_oumi.training.plan.shape import measure
from coalm_oumi.training.plan.speed import kernels_of_pass
from coalm_oumi.training.recipe import read_recipe
from tests.conftest import REPO

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Kernels(TorchDispatchMode):
    """Counts operators that compute, as benchmarks/launches.py does."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        allocates = name.startswith(("aten::empty", "aten::new_empty", "aten::detach"))
        self.count += not (func.is_view or allocates or name == "aten::_unsafe_view")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("modules", [LINEAR, ["q_proj", "v_proj"]], ids=["all", "two"])
def test_a_pass_launches_what_the_plan_counts(modules: list[str], dtype: str, recomputed: bool):
    layers = 4
    shape = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=1,
    )  # fmt: skip
    model = get_peft_model(
        transformers.LlamaForCausalLM(shape).bfloat16(), LoraConfig(target_modules=modules)
    )
    model.config.use_cache = False
    cast_trained(model, getattr(torch, dtype))
    if recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    ids = torch.arange(9)[None]
    with Kernels() as counted:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()

    config = read_recipe(REPO / "tests/support/padded_8b.yaml", [
        f"training.trainer_kwargs.adapter_dtype={dtype}",
        f"training.enable_gradient_checkpointing={recomputed}",
        f"peft.lora_target_modules={modules}",
    ])  # fmt: skip
    planned = kernels_of_pass(measure("small", shape, config.peft), read_setup(config))
    assert planned == pytest.approx(counted.count, rel=0.08)
