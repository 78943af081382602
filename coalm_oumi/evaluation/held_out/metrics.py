"""Dialogue state tracking: joint goal accuracy and slot F1."""

from collections import Counter
from collections.abc import Sequence

from coalm_oumi.evaluation import results
from coalm_oumi.formats.states import DialogueState


def joint_goal_accuracy(
    predicted: Sequence[DialogueState | None], expected: Sequence[DialogueState]
) -> float:
    """Returns the share of turns whose whole state (domain and every slot) is right.

    Args:
        predicted: One state per turn; None if the answer could not be read.
        expected: The true states, as many.

    Returns:
        A share in [0, 1]; 0 for no turns.
    """
    pairs = list(zip(predicted, expected, strict=True))
    return sum(guess == truth for guess, truth in pairs) / len(pairs) if pairs else 0.0


def slot_parts(guess: DialogueState | None, truth: DialogueState) -> results.Parts:
    """Returns one turn's contribution to slot precision, recall and F1.

    Over all turns they are micro-averaged over triples of domain, slot and value.

    Args:
        guess: The state; None if the answer could not be read.
        truth: The true state.
    """
    guesses = guess.triples() if guess else Counter[tuple[str, str, str]]()
    truths = truth.triples()
    hits = (guesses & truths).total()
    return {
        "slot_precision": (hits, guesses.total()),
        "slot_recall": (hits, truths.total()),
        "slot_f1": (2 * hits, guesses.total() + truths.total()),
    }
