"""Dialogue state tracking: the written state, joint goal accuracy and slot F1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, loads, unfenced


class StateError(CoalmError):
    """Text that is not a dialogue state in the form of Figure 4."""


@dataclass(frozen=True, slots=True)
class DialogueState:
    """What the user wants so far.

    Attributes:
        domain: The domain, an intent in SNIPS.
        slot_values: The values of each slot, normalised, in alphabetical order.
    """

    domain: str
    slot_values: Mapping[str, tuple[str, ...]]

    def triples(self) -> Counter[tuple[str, str, str]]:
        """Returns each (domain, slot, value)."""
        return Counter(
            (self.domain, slot, value)
            for slot, values in self.slot_values.items()
            for value in values
        )


def parse_state(text: str) -> DialogueState:
    """Reads `System: {"domain": ..., "slot_values": {...}}`; the speaker may be left out.

    Values are compared in lower case with white space folded. A slot without a value is not
    part of a state.

    Raises:
        StateError: The text is something else.
    """
    try:
        record = loads(unfenced(text.strip().removeprefix("System:")))
    except ValueError as error:
        raise StateError(f"not JSON: {error}") from error
    domain = record.get("domain") if isinstance(record, dict) else None
    slots = record.get("slot_values") if isinstance(record, dict) else None
    if not isinstance(domain, str) or not isinstance(slots, dict):
        raise StateError("expected an object with the text `domain` and the object `slot_values`")
    values = {slot: _values(slot, value) for slot, value in slots.items()}
    return DialogueState(domain, {slot: value for slot, value in values.items() if value})


def _values(slot: str, value: Json) -> tuple[str, ...]:
    items = [item for item in (value if isinstance(value, list) else [value]) if item is not None]
    if not all(isinstance(item, str | int | float) for item in items):
        raise StateError(f"slot `{slot}`: expected a value or a list of values")
    return tuple(sorted(" ".join(str(item).lower().split()) for item in items if str(item).strip()))


def joint_goal_accuracy(
    predicted: Sequence[DialogueState | None], expected: Sequence[DialogueState]
) -> float:
    """The share of turns whose whole state, domain and every slot, is right.

    Args:
        predicted: One state a turn; None where the answer could not be read.
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
        predicted: One state a turn; None where the answer could not be read.
        expected: The true states, as many.

    Returns:
        Precision, recall and F1, each in [0, 1].
    """
    hits = guessed = true = 0
    for guess, truth in zip(predicted, expected, strict=True):
        guesses = guess.triples() if guess else Counter()
        truths = truth.triples()
        hits += (guesses & truths).total()
        guessed += guesses.total()
        true += truths.total()
    precision = hits / guessed if guessed else 0.0
    recall = hits / true if true else 0.0
    return precision, recall, 2 * hits / (guessed + true) if guessed + true else 0.0
