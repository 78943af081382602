"""Adapters in bfloat16, and float32 masters of them (Micikevicius et al., 2018, section 3.1).

bfloat16 has eight significant bits, so an update of less than 1/512 of a parameter is lost. Here
the optimizer updates float32 masters, and the model computes with their rounded values.
"""

# pyright: standard, reportPrivateImportUsage=false

from typing import Any

import torch

_KEY = "float32_masters"


def cast_trained(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Casts the trained parameters of a model in place, and not the frozen ones."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def keep_masters(optimizer: torch.optim.Optimizer) -> None:
    """Makes an optimizer update float32 masters of its parameters.

    Before each step, the gradients of the parameters are copied to the masters. After it, the
    masters are copied to the parameters. The optimizer's state dict holds the masters, so that a
    resumed run loses no bits. `optimizer.zero_grad` clears only the gradients of the masters; this
    is enough because Transformers' trainer calls `model.zero_grad`.

    Args:
        optimizer: An optimizer that has made no step yet.
    """
    parameters: list[torch.nn.Parameter] = []
    masters: list[torch.nn.Parameter] = []
    for group in optimizer.param_groups:
        parameters += group["params"]
        group["params"] = [torch.nn.Parameter(p.detach().float()) for p in group["params"]]
        masters += group["params"]
    # Until the first step, a checkpoint or DDP's broadcast from rank 0 may change the parameters.
    current = False

    def take_gradients(*_: Any) -> None:
        nonlocal current
        if not current:
            _copy(parameters, masters)
            current = True
        for parameter, master in zip(parameters, masters, strict=True):
            master.grad = None if parameter.grad is None else torch.empty_like(master)
        _copy(
            [p.grad for p in parameters if p.grad is not None],
            [m.grad for m in masters if m.grad is not None],
        )

    def give_values(*_: Any) -> None:
        _copy(masters, parameters)
        for master in masters:
            master.grad = None

    def save(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        if current:
            state[_KEY] = [master.detach() for master in masters]

    def load(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        nonlocal current
        if _KEY in state:  # a state from before the first step, or of float32 adapters, has none
            _copy(state[_KEY], masters)
            current = True

    optimizer.register_step_pre_hook(take_gradients)
    optimizer.register_step_post_hook(give_values)
    optimizer.register_state_dict_post_hook(save)
    optimizer.register_load_state_dict_pre_hook(load)


@torch.no_grad()
def _copy(source: list[Any], target: list[Any]) -> None:
    """Copies a list of tensors with a few kernels."""
    if source:
        torch._foreach_copy_(target, source)
