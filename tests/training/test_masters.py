"""Adapters in bfloat16 learn with float32 masters."""

import copy

import torch

from coalm_oumi.training.masters import keep_masters

GRADIENT = 0.25  # exact in bfloat16


def parameters(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(5, 3).bfloat16().to(dtype)) for _ in range(3)]


def make(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=1e-5, weight_decay=0.1)


def steps(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], count: int) -> None:
    for _ in range(count):
        for param in params[:2]:  # the third gets no gradient
            param.grad = torch.full_like(param, GRADIENT)
        optimizer.step()


def test_small_updates_add_up_as_in_float32():
    exact, rounded, plain = (parameters(d) for d in (torch.float32, torch.bfloat16, torch.bfloat16))
    start = [p.detach().clone() for p in rounded]
    optimizer = make(rounded)
    keep_masters(optimizer)
    steps(optimizer, rounded, 1000)
    steps(make(exact), exact, 1000)
    steps(make(plain), plain, 1000)
    for mine, theirs in zip(rounded, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert torch.equal(mine, theirs.bfloat16())
    assert not torch.equal(rounded[0], start[0])
    assert torch.equal(rounded[2], start[2])
    # Without masters, most parameters stay where they were.
    assert (plain[0] == start[0]).float().mean() > 0.5


def test_a_resumed_run_loses_no_bits():
    whole, first = parameters(torch.bfloat16), parameters(torch.bfloat16)
    optimizer = make(whole)
    keep_masters(optimizer)
    steps(optimizer, whole, 300)

    before = make(first)
    keep_masters(before)
    steps(before, first, 150)
    saved = copy.deepcopy(before.state_dict())
    resumed = [torch.nn.Parameter(p.detach().clone()) for p in first]
    after = make(resumed)
    keep_masters(after)
    after.load_state_dict(saved)
    steps(after, resumed, 150)
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_weights_loaded_after_the_optimizer_was_made_stay():
    """Accelerate saves and loads the state of an optimizer when it takes it, before any step."""
    params = parameters(torch.bfloat16)
    optimizer = make(params)
    keep_masters(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        params[0].fill_(2.0)
    steps(optimizer, params, 1)
    assert torch.allclose(params[0].float(), torch.tensor(2.0), atol=0.02)
