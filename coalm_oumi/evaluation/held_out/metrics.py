"""Dialogue state tracking: joint goal accuracy and slot F1."""

from collections import Counter
from collections.abc import Sequence

from coalm_oumi.formats.states import DialogueState


def joint_goal_accuracy(
    predicted: Sequence[DialogueState | None], expected: Sequence[DialogueState]
) -> float:
    """The share of turns whose whole state, domain and every slot, is right.

    Args:
        predicted: One state per turn; None where the answer could not be read.
        expected: The true states, as many.

    Returns:
        A share in [0, 1]; 0 for no turns.
    """
    pairs = list(zip(predicted, expected, strict=True))
    return sum(guess == truth for guess, truth in pairs) / len(pairs) if pairs else 0.0


def slot_f1(
    predicted: Sequence[DialogueState | None], expected: Sequence[DialogueState]
) -> tuple[float, float, float]:
    """Micro-averaged precision, recall and F1 over (domain, slot, value) triples.

    Args:
        predicted: One state per turn; None where the answer could not be read.
        expected: The true states, as many.

    Returns:
        Precision, recall and F1, each in [0, 1].
    """
    hits = guessed = true = 0
    for guess, truth in zip(predicted, expected, strict=True):
        guesses = guess.triples() if guess else Counter[tuple[str, str, str]]()
        truths = truth.triples()
        hits += (guesses & truths).total()
        guessed += guesses.total()
        true += truths.total()
    precision = hits / guessed if guessed else 0.0
    recall = hits / true if true else 0.0
    return precision, recall, 2 * hits / (guessed + true) if guessed + true else 0.0
