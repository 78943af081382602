"""Inform, Success and Book as AutoTOD defines them: answers, checked in the database.

A judge reads a dialogue and answers a few questions on each domain: which venue, which reference
number, what the agent said about it. The rules here compare these answers with the goal and the
databases. Two judges answer: a language model (`llm_judge`), as in AutoTOD, and `reader`, which
needs none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coalm_oumi.evaluation.multiwoz.data import Goal
from coalm_oumi.evaluation.multiwoz.database import Database, Row
from coalm_oumi.evaluation.multiwoz.values import canonical, clean_name, clean_time
from coalm_oumi.evaluation.multiwoz.world import Booking

Answers = Mapping[str, str]
"""A judge's answers: `name` and `reference`, and each requested slot under MultiWOZ's name.

`none` means that the dialogue contains no answer.
"""

METRICS = ("inform", "success", "book")

_UNCONSTRAINED = frozenset({"dontcare", "", "none", "not mentioned"})


@dataclass(frozen=True, slots=True)
class MultiwozVerdict:
    """The verdict on one domain of one dialogue. A field is None if the goal does not ask for it.

    Attributes:
        inform: The venue, train or taxi satisfies the goal.
        success: It does, and every requested slot was answered correctly.
        book: It does, and it was booked as the goal asks.
    """

    inform: bool | None
    success: bool | None
    book: bool | None


class DialogueRecords:
    """The records against which answers are checked: the databases and a dialogue's bookings.

    Attributes:
        database: The databases.
    """

    def __init__(self, database: Database, bookings: Iterable[Booking]) -> None:
        """Takes the records to check answers in."""
        self.database = database
        self._bookings = {(b.domain, b.reference.lower()): b.record for b in bookings}

    def booking(self, domain: str, reference: str) -> Row | None:
        """Finds a booking by its reference number, in any case."""
        return self._bookings.get((domain, reference.strip().lower()))


def check(domain: str, goal: Goal, answers: Answers, records: DialogueRecords) -> MultiwozVerdict:
    """Judges one domain by AutoTOD's rules (its `evaluate.py`).

    A missing answer counts as `none`. As in AutoTOD, `none` is no fault if the question is about a
    venue, but is one if it is about a train or a taxi.
    """
    if domain == "taxi":
        return _check_taxi(goal, answers)
    if domain == "train":
        return _check_train(goal, answers, records)
    return _check_venue(domain, goal, answers, records)


def _check_venue(
    domain: str, goal: Goal, answers: Answers, records: DialogueRecords
) -> MultiwozVerdict:
    venue = records.database.venue(domain, answers.get("name", "none"))
    inform = venue is not None and (
        _is_as(venue, goal.info) or (bool(goal.fail_info) and _is_as(venue, goal.fail_info))
    )
    success = book = None
    if goal.requests:
        told = {slot: answers.get(slot, "none") for slot in goal.requests}
        success = venue is not None and inform and _is_as(venue, told)
    if goal.book:
        record = records.booking(domain, answers.get("reference", "none"))
        book = (
            venue is not None
            and inform
            and record is not None
            and clean_name(record["name"]) == clean_name(venue["name"])
            and (
                _holds(record, goal.book)
                or (bool(goal.fail_book) and _holds(record, goal.fail_book))
            )
        )
    return MultiwozVerdict(inform, success, book)


def _check_train(goal: Goal, answers: Answers, records: DialogueRecords) -> MultiwozVerdict:
    """A goal asks about a train or books one, never both."""
    inform = success = book = None
    if goal.requests:
        told = {slot: answers.get(slot, "none") for slot in goal.requests}
        if "leaveAt" in told:
            told["leaveAt"] = clean_time(told["leaveAt"])
        trains = records.database.search("train", goal.info)
        inform = success = any(_train_is_as(train, told) for train in trains)
    if goal.book:
        record = records.booking("train", answers.get("reference", "none"))
        # AutoTOD looks at the first train of that number only.
        trains = records.database.trains(record["trainID"]) if record else []
        inform = any(_train_is_as(train, goal.info) for train in trains)
        book = inform and record is not None and record["people"] == goal.book["people"]
    return MultiwozVerdict(inform, success, book)


def _check_taxi(goal: Goal, answers: Answers) -> MultiwozVerdict:
    inform = success = None
    if goal.info:
        inform = all(
            value.lower() == _taxi_answer(slot, answers) for slot, value in goal.info.items()
        )
    if goal.requests:
        success = bool(inform) and all(answers.get(s, "none") != "none" for s in goal.requests)
    return MultiwozVerdict(inform, success, None)


def _taxi_answer(slot: str, answers: Answers) -> str:
    answer = answers.get(slot, "none").lower()
    return clean_time(answer) if slot in ("leaveAt", "arriveBy") else answer


def _is_as(venue: Row, wanted: Mapping[str, str]) -> bool:
    """Returns True if a place satisfies constraints. An address may be told with more around it."""
    for slot, value in wanted.items():
        if value in _UNCONSTRAINED:
            continue
        if slot not in venue:
            return False
        known = venue[slot].lower()
        if slot != "entrance fee":  # AutoTOD compares this one in the judge's own case
            value = value.lower()
        if slot in ("postcode", "phone"):
            value = value.replace(" ", "")
        if slot == "type":
            known, value = canonical(slot, known), canonical(slot, value)
        same = known in value if slot == "address" else known == value
        if not same:
            return False
    return True


def _holds(record: Row, wanted: Mapping[str, str]) -> bool:
    return all(
        record.get(slot) == (clean_time(value) if slot == "time" else value.lower())
        for slot, value in wanted.items()
    )


def _train_is_as(train: Row, wanted: Mapping[str, str]) -> bool:
    for slot, value in wanted.items():
        known = train.get(slot, "")
        late = slot == "leaveAt" and known < value
        early = slot == "arriveBy" and known > value
        if late or early or (slot not in ("leaveAt", "arriveBy") and known != value):
            return False
    return True


def overall(verdicts: Mapping[str, MultiwozVerdict]) -> MultiwozVerdict:
    """Joins the domains of a dialogue: right if every domain of the goal is."""
    joined: dict[str, bool | None] = {}
    for metric in METRICS:
        asked = [getattr(verdict, metric) for verdict in verdicts.values()]
        known = [value for value in asked if value is not None]
        joined[metric] = all(known) if known else None
    return MultiwozVerdict(**joined)


def questions(domain: str, goal: Goal) -> list[str]:
    """Returns the questions about a domain: `name`, `reference`, and slots, in AutoTOD's order."""
    if domain == "taxi":
        return [*goal.info, *goal.requests]
    asked = ["name"] if domain != "train" else []
    if goal.book:
        asked.append("reference")
    return [*asked, *goal.requests]
