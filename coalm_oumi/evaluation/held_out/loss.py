"""The loss of a model on held-out targets, where the engine can compute it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coalm_oumi.core import compat
from coalm_oumi.core.sample import Sample

if TYPE_CHECKING:
    from oumi.core.inference import BaseInferenceEngine


@dataclass(frozen=True, slots=True)
class TargetLoss:
    """The cross entropy of targets and their end of turn, given their prompts.

    Attributes:
        mean: In nats per token, over all tokens.
        tokens: The number of scored tokens.
        too_long: The number of samples that are longer than the model's context, and left out.
    """

    mean: float
    tokens: int
    too_long: int


def target_loss(engine: "BaseInferenceEngine", samples: Sequence[Sample]) -> TargetLoss | None:
    """Computes what training reports as the loss of an evaluation.

    Only Oumi's native engine gives access to likelihoods. The other engines only generate text.

    Returns:
        The loss; None if the engine cannot compute it, or every sample is too long.
    """
    found = compat.native_model(engine)
    if found is None:
        return None
    from coalm_oumi.data.datasets.tokens import encode, user_message  # loads Oumi's data sets

    model, tokenizer = found
    users = [user_message(sample.instruction, sample.input) for sample in samples]
    encoded = encode(tokenizer, users, [sample.output for sample in samples])
    fitting = [sample for sample in encoded if len(sample.input_ids) <= tokenizer.model_max_length]
    if not fitting:
        return None
    total, tokens = 0.0, 0
    for sample in fitting:
        scored = len(sample.input_ids) - sample.prompt_length
        total += scored * _mean_loss(model, sample.input_ids, sample.labels)
        tokens += scored
    return TargetLoss(total / tokens, tokens, too_long=len(encoded) - len(fitting))


def _mean_loss(model: Any, input_ids: list[int], labels: list[int]) -> float:
    import torch  # slow to import, and only the native engine gets here

    with torch.inference_mode():
        ids, targets = (torch.tensor([row], device=model.device) for row in (input_ids, labels))
        return model(input_ids=ids, labels=targets).loss.item()
