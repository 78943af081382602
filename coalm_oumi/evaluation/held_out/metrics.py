"""Dialogue state tracking: slot precision, recall and F1.

Joint goal accuracy is the share of right answers.
"""

from collections import Counter

from coalm_oumi.evaluation import results
from coalm_oumi.formats.states import DialogueState


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
