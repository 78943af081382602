"""Inform and Success as the context-to-response field computes them (Nekvinda and Dušek, 2021).

Unlike AutoTOD's, they judge the system's words against the states that it tracked. Inform asks
whether the venues of the last state suit the goal, and Success whether every requested slot was
mentioned. The official evaluator reads delexicalised responses. Ours are in words: `in_words` finds
names of places, phone numbers, post codes, addresses, train and reference numbers in them. A test
reads recorded responses of the official kind, and compares the verdicts.

There are two ways to count a reference number. The official evaluator counts it only from the turn
in which the human operator made that booking in the reference dialogue, and ignores turns after the
reference dialogue's end. An agent that talks to a simulated user books in other turns, so most of
its references do not count. The other way counts a reference if the agent made that booking. The
caller chooses with `SystemTurn.booked`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from coalm_oumi.evaluation.multiwoz.data import Goal
from coalm_oumi.evaluation.multiwoz.database import Database, Row
from coalm_oumi.evaluation.multiwoz.state import Predicted
from coalm_oumi.evaluation.multiwoz.values import VENUES, canonical, clean, is_given

_FUZZY = {
    "restaurant": ("name", "food"),
    "hotel": ("name",),
    "attraction": ("name",),
    "train": ("departure", "destination"),
}
_RATIO = 90
_PATTERNS = {
    "phone": re.compile(r"(?<!\d)\d{5} ?\d{6}(?!\d)|(?<!\d)\d{10}(?!\d)"),
    "postcode": re.compile(r"\bcb\d{1,2} ?\d ?[a-z]{2}\b", re.IGNORECASE),
    "trainID": re.compile(r"\btr\d{4}\b", re.IGNORECASE),
}
_TIME = re.compile(r"\d\d:\d\d")
_OFFER = {**dict.fromkeys(VENUES, "name"), "train": "trainID"}
"""The slots whose mention offers a venue or a train. A taxi is not offered."""
_REQUESTABLE = ("phone", "address", "postcode", "trainID")


@dataclass(frozen=True, slots=True)
class SystemTurn:
    """The system's part of a turn.

    Attributes:
        reply: The reply.
        state: The state after the user's turn.
        booked: The domains whose reference number counts if the reply contains it.
        active: The domains of the turn; None to estimate one from the states.
    """

    reply: str
    state: Predicted
    booked: frozenset[str]
    active: frozenset[str] | None = None


Mentions = Callable[[str, SystemTurn, Database], set[str]]
"""Returns what a turn mentions of a domain: `name`, `trainID`, `reference` and requested slots."""


def inform_success(
    goals: Mapping[str, Goal],
    turns: Sequence[SystemTurn],
    database: Database,
    mentioned: Mentions | None = None,
) -> tuple[bool, bool]:
    """Judges one dialogue.

    Args:
        goals: What the user wants, by domain.
        turns: What the system did.
        database: The databases.
        mentioned: How its replies are read; `in_words` by default.

    Returns:
        Inform and Success. There is no Success without Inform.
    """
    mentioned = mentioned or in_words
    offered: dict[str, list[int]] = {domain: [] for domain in goals}
    told: dict[str, set[str]] = {domain: set() for domain in goals}
    estimated = _active_domains([turn.state for turn in turns])
    for turn, estimate in zip(turns, estimated, strict=True):
        active = {estimate} if turn.active is None else turn.active
        for domain in goals.keys() & active:
            said = mentioned(domain, turn, database)
            if _OFFER.get(domain) in said:
                matching = _matching(domain, _of_domain(domain, turn.state), database)
                if not offered[domain] or not set(offered[domain]) <= set(matching):
                    offered[domain] = matching
            told[domain] |= said
    inform = all(_informed(d, goal, offered[d], database) for d, goal in goals.items())
    return inform, inform and all(_wanted(goal) <= told[d] for d, goal in goals.items())


def _wanted(goal: Goal) -> set[str]:
    asked = {slot for slot in goal.requests if slot in _REQUESTABLE}
    return asked | ({"reference"} if goal.book else set())


def _informed(domain: str, goal: Goal, offered: Sequence[int], database: Database) -> bool:
    if domain == "taxi" or "name" in goal.info:
        return True
    if domain == "train" and not offered and "trainID" not in goal.requests:
        return True
    return bool(offered) and set(offered) <= set(_matching(domain, goal.info, database))


def _of_domain(domain: str, state: Predicted) -> dict[str, str]:
    prefix = f"{domain}-"
    return {slot.removeprefix(prefix): v for slot, v in state.items() if slot.startswith(prefix)}


def _active_domains(states: Sequence[Predicted]) -> list[str | None]:
    """Estimates which domain each turn is about, from what changed in the state."""
    current: str | None = None
    before: Predicted = {}
    rest: list[str] = []
    active: list[str | None] = []
    for state in states:
        slots = [slot for slot, value in state.items() if before.get(slot) != value]
        changed = list(dict.fromkeys(slot.partition("-")[0] for slot in slots))
        if changed and current not in changed:
            current = max(changed, key=lambda domain: len(_of_domain(domain, state)))
        elif not changed and len(rest) > 1:
            rest = [domain for domain in rest if domain != current]
            current = rest[0] if rest else current
        if changed or current is not None:
            before, rest = state, changed
        active.append(current)
    return active


def in_words(domain: str, turn: SystemTurn, database: Database) -> set[str]:
    """Finds what a reply in words mentions. The reference is taken from `turn.booked`."""
    found = {slot for slot, pattern in _PATTERNS.items() if pattern.search(turn.reply)}
    if domain in VENUES:
        if database.named_in(domain, turn.reply):
            found.add("name")
        words = clean(turn.reply)
        if any(clean(row["address"]) in words for row in database.rows(domain)):
            found.add("address")
    return found | ({"reference"} if domain in turn.booked else set())


def _matching(domain: str, constraints: Mapping[str, str], database: Database) -> list[int]:
    """Returns which records satisfy constraints; names may differ by a typo."""
    wanted: dict[str, str] = {}
    for slot, value in constraints.items():
        if is_given(value):
            wanted[slot.lower()] = _comparable(slot.lower(), value)
    rows = database.rows(domain)
    return [index for index, row in enumerate(rows) if _suits(domain, row, wanted)]


def _comparable(slot: str, value: str) -> str:
    if slot in ("name", "departure", "destination"):
        return clean(value)
    known = canonical(slot, value)
    # As in the official evaluator, text that is not a time is midnight.
    return "00:00" if slot in ("leaveat", "arriveby") and not _TIME.fullmatch(known) else known


def _suits(domain: str, row: Row, wanted: Mapping[str, str]) -> bool:
    for column, known in row.items():
        value = wanted.get(column.lower())
        if value is None or known == "?":
            continue
        known = known.lower()
        if column == "arriveBy":
            suits = known <= value
        elif column == "leaveAt":
            suits = known >= value
        elif column in _FUZZY[domain]:
            suits = fuzz.partial_ratio(known, value) >= _RATIO
        else:
            suits = known == value
        if not suits:
            return False
    return True
