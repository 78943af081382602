"""The reward functions that recipes name: importing this module registers them in Oumi.

TRL calls them with the answers to a batch of prompts and the columns of its dataset. These are the
columns of a sample, which `coalm-oumi/mixture_grpo` provides.
"""
# pyright: standard

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oumi.core.registry import RegistryType, register

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import COLUMNS, Sample
from coalm_oumi.training.rewards import scores

Completion = str | Sequence[Mapping[str, str]]
"""An answer: text, or the one message that holds it."""


@register("coalm-oumi/format", RegistryType.REWARD_FUNCTION)
def format_reward(completions: Sequence[Completion], **columns: Any) -> list[float]:
    """Rewards answers in the form of their targets; see `scores.form`."""
    return _judge(scores.form, completions, columns)


@register("coalm-oumi/call_validity", RegistryType.REWARD_FUNCTION)
def call_validity_reward(completions: Sequence[Completion], **columns: Any) -> list[float]:
    """Rewards calls that the prompt's functions allow; see `scores.call_validity`."""
    return _judge(scores.call_validity, completions, columns)


@register("coalm-oumi/ast_match", RegistryType.REWARD_FUNCTION)
def ast_match_reward(completions: Sequence[Completion], **columns: Any) -> list[float]:
    """Rewards the target's calls or state; see `scores.match`."""
    return _judge(scores.match, completions, columns)


@register("coalm-oumi/argument_support", RegistryType.REWARD_FUNCTION)
def argument_support_reward(completions: Sequence[Completion], **columns: Any) -> list[float]:
    """Rewards values that the prompt supports; see `scores.argument_support`."""
    return _judge(scores.argument_support, completions, columns)


@reported_by_oumi
def _judge(
    score: Callable[[str, Sample], float],
    completions: Sequence[Completion],
    columns: Mapping[str, Any],
) -> list[float]:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise CoalmError(
            f"the rewards need the dataset `coalm-oumi/mixture_grpo`: the columns "
            f"{', '.join(missing)} are missing"
        )
    samples = (Sample(*values) for values in zip(*(columns[name] for name in COLUMNS), strict=True))
    return [
        score(_text(completion), sample)
        for completion, sample in zip(completions, samples, strict=True)
    ]


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]
