"""Belief states, read from the agent's tool calls, and their metrics.

The agents of CoALM and AutoTOD write no belief state. It is read from their calls, whose arguments
are MultiWOZ's slots. A later value of a slot replaces an earlier one, and slots that a later call
leaves out stay, as in MultiWOZ's annotations. A call that is refused because a value is missing
still shows what the agent understood.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from coalm_oumi.evaluation.multiwoz.data import State
from coalm_oumi.evaluation.multiwoz.values import DOMAINS, canonical
from coalm_oumi.evaluation.multiwoz.world import read_call
from coalm_oumi.formats.calls import FunctionCall

_NEARLY = 95

Predicted = Mapping[str, str]
"""The value of each slot that has one, by `domain-slot`."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """Metrics of state tracking, each a share in [0, 1].

    Attributes:
        joint_goal_accuracy: Turns whose whole state is right.
        lenient_joint_goal_accuracy: The same if two values count as equal whose partial ratio is
            above 95, as in the evaluator that the authors' laboratory uses (TD-Eval).
        by_domain: The same over the turns in which that domain has a true or a predicted value,
            looking at its slots only.
        slot_precision: Predicted slot values that are right.
        slot_recall: True slot values that were predicted.
        slot_f1: Their harmonic mean.
    """

    joint_goal_accuracy: float
    lenient_joint_goal_accuracy: float
    by_domain: Mapping[str, float]
    slot_precision: float
    slot_recall: float
    slot_f1: float


def track(calls: Iterable[FunctionCall], before: Predicted | None = None) -> dict[str, str]:
    """Adds the calls of a turn to the state before it.

    Queries constrain the venue, a booking says the rest. A train's number and calls of unknown
    tools or arguments are not part of a state.
    """
    state = dict(before or {})
    for call in calls:
        read = read_call(call)
        if read is None:
            continue
        action, domain, arguments = read
        for argument, value in arguments.items():
            slot = argument.lower()
            if domain not in DOMAINS or slot == "trainid":
                continue
            is_booking = action == "book" and domain != "taxi" and slot != "name"
            slot = f"book {slot}" if is_booking else slot
            if known := canonical(slot, value):
                state[f"{domain}-{slot}"] = known
    return state


def score(pairs: Sequence[tuple[Predicted, State]]) -> Tracking:
    """Compares predicted states with annotated ones, turn by turn.

    Values are compared in canonical form. MultiWOZ 2.4 annotates alternatives (`a|b`); any of them
    is right.

    Args:
        pairs: The predicted and the true state of each turn.
    """
    hits = guessed = true = right = lenient = 0
    domain_right = dict.fromkeys(DOMAINS, 0)
    domain_turns = dict.fromkeys(DOMAINS, 0)
    for predicted, truth in pairs:
        matched = {slot for slot, value in predicted.items() if value in truth.get(slot, ())}
        hits, guessed, true = hits + len(matched), guessed + len(predicted), true + len(truth)
        wrong = (predicted.keys() | truth.keys()) - matched
        right += not wrong
        lenient += _is_nearly_right(predicted, truth)
        wrong_domains = {slot.partition("-")[0] for slot in wrong}
        for domain in {slot.partition("-")[0] for slot in predicted.keys() | truth.keys()}:
            domain_turns[domain] += 1
            domain_right[domain] += domain not in wrong_domains
    return Tracking(
        joint_goal_accuracy=_share(right, len(pairs)),
        lenient_joint_goal_accuracy=_share(lenient, len(pairs)),
        by_domain={d: domain_right[d] / turns for d, turns in domain_turns.items() if turns},
        slot_precision=_share(hits, guessed),
        slot_recall=_share(hits, true),
        slot_f1=_share(2 * hits, guessed + true),
    )


def _is_nearly_right(predicted: Predicted, truth: State) -> bool:
    if predicted.keys() != truth.keys():
        return False
    return all(
        any(fuzz.partial_ratio(value, accepted) > _NEARLY for accepted in truth[slot])
        for slot, value in predicted.items()
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
