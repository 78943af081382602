"""Dialogue state tracking: the written state, joint goal accuracy and slot F1."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import JsonValue, loads_model, unfenced


class StateError(CoalmError):
    """Text that is not a dialogue state in the form of Figure 4."""


@dataclass(frozen=True, slots=True)
class DialogueState:
    """The user's wishes so far.

    Attributes:
        domain: The domain, an intent in SNIPS.
        slot_values: The normalised values of each slot, in alphabetical order.
    """

    domain: str
    slot_values: Mapping[str, tuple[str, ...]]

    def triples(self) -> Counter[tuple[str, str, str]]:
        """Returns each (domain, slot, value)."""
        triples: Counter[tuple[str, str, str]] = Counter()
        for slot, values in self.slot_values.items():
            triples.update((self.domain, slot, value) for value in values)
        return triples


def parse_state(text: str) -> DialogueState:
    """Reads `System: {"domain": ..., "slot_values": {...}}`; the speaker may be left out.

    Values are compared in lower case with white space folded. A slot without a value is not
    part of a state.

    Raises:
        StateError: The text is something else.
    """
    try:
        record: JsonValue = loads_model(unfenced(text.strip().removeprefix("System:")))
    except ValueError as error:
        raise StateError(f"not JSON: {error}") from error
    domain = record.get("domain") if isinstance(record, dict) else None
    slots = record.get("slot_values") if isinstance(record, dict) else None
    if not isinstance(domain, str) or not isinstance(slots, dict):
        raise StateError("expected an object with the text `domain` and the object `slot_values`")
    values = {slot: _values(slot, value) for slot, value in slots.items()}
    return DialogueState(domain, {slot: value for slot, value in values.items() if value})


def _values(slot: str, value: JsonValue) -> tuple[str, ...]:
    items = [item for item in (value if isinstance(value, list) else [value]) if item is not None]
    if not all(isinstance(item, str | int | float) for item in items):
        raise StateError(f"slot `{slot}`: expected a value or a list of values")
    return tuple(sorted(" ".join(str(item).lower().split()) for item in items if str(item).strip()))
