"""Inform and Success as the context-to-response field computes them (Nekvinda and Dušek, 2021).

Unlike AutoTOD's, they judge what the system said against the states it tracked: Inform asks whether
the venues that the last state stands for suit the goal, Success whether every requested slot was
mentioned. The official evaluator reads delexicalised responses. Ours are in words: names of places,
phone numbers, post codes, addresses, train and reference numbers are found in them. A reference
counts where the agent made that booking; the official evaluator takes the corpus's word for it.
"""

import re
from collections.abc import Mapping, Sequence
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
_REQUESTABLE = ("phone", "address", "postcode", "trainID")


@dataclass(frozen=True, slots=True)
class SystemTurn:
    """What the system did in a turn.

    Attributes:
        reply: What it said.
        state: The state after the user's turn.
        booked: The domains whose reference number it told.
    """

    reply: str
    state: Predicted
    booked: frozenset[str]


def inform_success(
    goals: Mapping[str, Goal], turns: Sequence[SystemTurn], database: Database
) -> tuple[bool, bool]:
    """Judges one dialogue.

    Args:
        goals: What the user wants, by domain.
        turns: What the system did.
        database: The databases.

    Returns:
        Inform and Success. There is no Success without Inform.
    """
    offered: dict[str, list[int]] = {domain: [] for domain in goals}
    told: dict[str, set[str]] = {domain: set() for domain in goals}
    for turn, active in zip(turns, _active_domains([t.state for t in turns]), strict=True):
        if active is None or active not in goals:
            continue
        said = _mentioned(active, turn.reply, database)
        if ("name" if active in VENUES else "trainID") in said and active != "taxi":
            matching = _matching(active, _of_domain(active, turn.state), database)
            if not set(offered[active]) <= set(matching) or not offered[active]:
                offered[active] = matching
        told[active] |= said | ({"reference"} if active in turn.booked else set())
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
        changed = list(
            dict.fromkeys(
                slot.partition("-")[0] for slot, value in state.items() if before.get(slot) != value
            )
        )
        if changed and current not in changed:
            current = max(changed, key=lambda domain: len(_of_domain(domain, state)))
        elif not changed and len(rest) > 1:
            rest = [domain for domain in rest if domain != current]
            current = rest[0] if rest else current
        if changed or current is not None:
            before, rest = state, changed
        active.append(current)
    return active


def _mentioned(domain: str, reply: str, database: Database) -> set[str]:
    found = {slot for slot, pattern in _PATTERNS.items() if pattern.search(reply)}
    if domain in VENUES:
        if database.named_in(domain, reply):
            found.add("name")
        words = clean(reply)
        if any(clean(row["address"]) in words for row in database.rows(domain)):
            found.add("address")
    return found


def _matching(domain: str, constraints: Mapping[str, str], database: Database) -> list[int]:
    """Returns which records satisfy constraints; names may differ by a slip of the pen."""
    wanted = {
        slot.lower(): _comparable(slot.lower(), value)
        for slot, value in constraints.items()
        if is_given(value)
    }
    rows = database.rows(domain)
    return [index for index, row in enumerate(rows) if _suits(domain, row, wanted)]


def _comparable(slot: str, value: str) -> str:
    if slot in ("name", "departure", "destination"):
        return clean(value)
    known = canonical(slot, value)
    # As in the official evaluator, what is no time is midnight.
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
