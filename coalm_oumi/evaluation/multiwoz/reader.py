"""The deterministic judge: it reads the tool trace and the agent's words.

It answers the questions of `judge.questions`. A venue or train that was booked is known from the
trace; the facts that the agent told are looked for in its words, spelled as in the database.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coalm_oumi.evaluation.multiwoz.data import Goal
from coalm_oumi.evaluation.multiwoz.database import Database, Row
from coalm_oumi.evaluation.multiwoz.judge import questions
from coalm_oumi.evaluation.multiwoz.values import clean, clean_name, clean_time
from coalm_oumi.evaluation.multiwoz.world import Booking

MISSING = "not told"
"""The answer if the agent did not tell. Unlike `none`, it counts as a fault of the agent."""

_TIME = re.compile(r"\b\d{1,2}[:.]\d{2}(?:\s*[ap]\.?m\b)?", re.IGNORECASE)
_TAXI_PHONE = re.compile(r"(?<!\d)\d{10,11}(?!\d)")
_TRAIN_ID = re.compile(r"\bTR\d{4}\b")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_CLAUSE = re.compile(r"[,;:]|\b(?:and|but|however|although|though|while)\b", re.IGNORECASE)
_CONTRAST = re.compile(r";|\b(?:but|however|although|though|instead)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:no|not(?! only| just)|none|neither|nor|without|lacks?|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"\s*(?:so |and |or )?(?:would|will|do|does|did|is|are|was|can|could|shall|should|may|have|has"
    r"|what|which|how|who|where|when|if|whether|let me know)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:could|can|did|was|were|am|is|are)(?:n['\u2019]t| not| unable)\b.{0,40}?"
    r"\b(?:find|found|locate|located|see|available|listed|in (?:the|our|my))\b"
    r"|\b(?:cannot|unable to|not able to|failed to) (?:find|locate|see)\b"
    r"|\bno (?:such|results?|records?|match\w*|information)\b"
    r"|\bthere (?:is|are|was|were) (?:no|not|none)\b.{0,40}?"
    r"\b(?:restaurants?|hotels?|guest ?houses?|attractions?|places?|venues?|named|called"
    r"|match\w*)\b"
    r"|\bdo(?:es)?(?:n['\u2019]t| not) (?:exist|have (?:any|a|an|information))\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\b(?:recommend|suggest|how about|what about|shall i book|like me to book"
    r"|i(?: have|'ve)? (?:booked|chosen|picked|selected)|i (?:choose|chose|pick)|go with)\b",
    re.IGNORECASE,
)
_DIALOGUE_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about ah also an and any are at book booking can certainly confirm correct could do "
        "for found get got have hello help hi i in information is it let like list look looking "
        "me my need of oh ok okay on one or please right said say see so sorry sure thank thanks "
        "that the there this to understand user want wanted with would yes you your ",
    )
)
"""Words that repeat or acknowledge a wish, but say nothing about a place."""
_TOPICS = {
    "internet": re.compile(r"internet|wi-?fi", re.IGNORECASE),
    "parking": re.compile(r"parking", re.IGNORECASE),
}
_STARS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words and bookings of a dialogue.

    Attributes:
        turns: The words of user and agent in each turn.
        bookings: The agent's bookings; None if they were not recorded.
    """

    turns: Sequence[tuple[str, str]]
    bookings: Sequence[Booking] | None

    @property
    def told(self) -> str:
        """All words of the agent."""
        return "\n".join(agent for _, agent in self.turns)


def answers(domain: str, goal: Goal, transcript: Transcript, database: Database) -> dict[str, str]:
    """Answers the judge's questions on one domain.

    Args:
        domain: The domain.
        goal: What the user wants of it.
        transcript: The dialogue.
        database: The public databases.
    """
    if domain == "taxi":
        return _taxi(goal, transcript, database)
    booked = _told_booking(domain, transcript)
    found = {"reference": booked.reference if booked else MISSING}
    if domain == "train":
        return found | _train(goal, transcript, database)
    name = booked.record["name"] if booked else _venue(domain, transcript.turns, database)
    venue = database.venue(domain, name) if name else None
    if not name or venue is None:
        return dict.fromkeys(questions(domain, goal), MISSING)
    if not booked and not _is_offered(domain, name, venue, transcript, database):
        return dict.fromkeys(questions(domain, goal), MISSING)
    told = {slot: _told(slot, venue, transcript.told) for slot in goal.requests}
    return found | {"name": venue["name"]} | told


def _told_booking(domain: str, transcript: Transcript) -> Booking | None:
    """Returns the last booking whose reference number the agent told."""
    said = re.sub(r"\W", "", transcript.told.lower())
    made = [b for b in transcript.bookings or () if b.domain == domain]
    return next((b for b in reversed(made) if b.reference.lower() in said), None)


def _venue(domain: str, turns: Sequence[tuple[str, str]], database: Database) -> str | None:
    """Returns the place that is mentioned last.

    The user's words decide before the agent's. If an agent lists several places, none of them is
    chosen until somebody singles one out.
    """
    current = None
    for user, agent in turns:
        if mentioned := database.named_in(domain, user):
            current = mentioned[-1]
        stated = _without_refusals(agent)
        offered = database.named_in(domain, stated)
        if len(offered) > 1:
            offered = _singled_out(domain, stated, database)
        if len(offered) == 1 and current not in database.named_in(domain, stated):
            current = offered[0]
    return current


def _singled_out(domain: str, said: str, database: Database) -> list[str]:
    """Returns the place that an agent recommends or books from a list that it gave."""
    for sentence in _SENTENCE.findall(said):
        named = database.named_in(domain, sentence)
        if len(named) == 1 and _CHOICE.search(sentence):
            return named
    return []


def _without_refusals(said: str) -> str:
    """Leaves out what an agent says that it does not find: `I'm sorry, I could not find X`."""
    kept: list[str] = []
    for sentence in _SENTENCE.findall(said):
        parts = _CONTRAST.split(sentence)
        kept.append(" ".join(part for part in parts if not _REFUSAL.search(part)))
    return "\n".join(kept)


def _is_offered(
    domain: str, name: str, venue: Row, transcript: Transcript, database: Database
) -> bool:
    """Returns True if the agent spoke of a place too: by its name, or by how to reach it.

    A user who asks for a place by its name is not informed of it yet, also not by an agent that
    repeats the user's words.
    """
    heard = ""
    for user, agent in transcript.turns:
        heard += f" {user}"
        stated = _without_refusals(agent)
        if name in database.named_in(domain, stated) and _is_news(stated, heard):
            return True
    reach = [slot for slot in ("phone", "postcode", "address") if venue.get(slot, "?") != "?"]
    return any(_says(slot, venue[slot], transcript.told) for slot in reach)


def _is_news(said: str, heard: str) -> bool:
    """Returns True if a text holds a word that tells something and that was not heard before."""
    words = set(re.findall(r"\w+", said.lower()))
    return bool(words - set(re.findall(r"\w+", heard.lower())) - _DIALOGUE_WORDS)


def _told(slot: str, venue: Row, said: str) -> str:
    """Returns a place's value if the agent told it."""
    value = venue.get(slot, "?")
    if value == "?":
        return "none"  # the database does not have it either
    if slot in _TOPICS:
        return yes_or_no(slot, said)
    return value if _says(slot, value, said) else MISSING


def _says(slot: str, value: str, said: str) -> bool:
    if slot in ("phone", "postcode"):
        return value.lower() in re.sub(r"\W", "", said.lower())
    if slot == "stars":
        stars = "|".join([value, *(word for word, digit in _STARS.items() if digit == value)])
        pattern = rf"\b(?:{stars})[ -]stars?\b|\bstars?(?: rating)?(?: of|:)? \**(?:{stars})\b"
        return re.search(pattern, said, re.IGNORECASE) is not None
    if slot == "duration":
        minutes = int(value.split()[0])
        hours = rf"\b{minutes // 60} ?(?:hours?|h)\W+(?:and )?{minutes % 60:d}\b"
        return re.search(rf"\b{minutes} ?min|{hours}", said) is not None
    if slot in ("price", "entrance fee") and value[0].isdigit():
        return re.search(rf"(?<![\d.]){re.escape(value.split()[0])}(?!\d)", said) is not None
    if slot in ("leaveAt", "arriveBy"):
        return value in {clean_time(time) for time in _TIME.findall(said)}
    if slot == "type" and value == "guesthouse":
        return re.search(r"guest ?house", said, re.IGNORECASE) is not None
    words = " ".join(re.sub(r"\W", " ", said.lower()).replace("center", "centre").split())
    wanted = " ".join(re.sub(r"\W", " ", value.lower()).split())
    return f" {wanted} " in f" {words} "


def yes_or_no(slot: str, said: str) -> str:
    """Reads whether a hotel has internet or parking, from the last statement about it.

    A question or a condition states nothing: `Would you like one with free parking?`. A negation
    holds within its own clause: `free internet but no parking`.
    """
    answer = MISSING
    for sentence in _SENTENCE.findall(said):
        clauses = _CLAUSE.split(sentence)
        for index, clause in enumerate(clauses):
            is_question = sentence.endswith("?") and index + 1 == len(clauses)
            if _ASKING.match(clause) or is_question:
                break  # the question goes on to the end of the sentence
            if _TOPICS[slot].search(clause):
                answer = "no" if _NEGATION.search(clause) else "yes"
    return answer


def _train(goal: Goal, transcript: Transcript, database: Database) -> dict[str, str]:
    """Answers with the train that was told of last, where it suits the goal."""
    chosen = _train_ids(transcript.turns)
    for train in database.search("train", goal.info):
        if (not chosen or train["trainID"] in chosen) and all(
            _says(slot, train[slot], transcript.told) for slot in goal.requests
        ):
            return {slot: train[slot] for slot in goal.requests}
    return dict.fromkeys(goal.requests, MISSING)


def _train_ids(turns: Sequence[tuple[str, str]]) -> set[str]:
    """Returns the train that the user named last, or those of the agent's last offer."""
    for speaker in (0, 1):
        for turn in reversed(turns):
            if named := _TRAIN_ID.findall(turn[speaker].upper()):
                return {named[-1]} if speaker == 0 else set(named)
    return set()


def _taxi(goal: Goal, transcript: Transcript, database: Database) -> dict[str, str]:
    said = transcript.told
    taxis = [b.record for b in transcript.bookings or () if b.domain == "taxi"]
    if transcript.bookings is None:
        spoken = "\n".join(text for turn in transcript.turns for text in turn)
        booked = {s: value for s, value in goal.info.items() if _mentions(s, value, spoken)}
        record: Row = booked | _car(said, database)
    else:
        record = taxis[-1] if taxis else {}
    found = {slot: _as_wanted(slot, value, record) for slot, value in goal.info.items()}
    digits = re.sub(r"\W", "", said.lower())
    for slot in goal.requests:
        value = record.get(slot, MISSING)
        told = value in digits if slot == "phone" else clean(value) in clean(said)
        # For a taxi, the answer `none` counts as a fault of the agent.
        found[slot] = value if told else "none"
    return found


def _as_wanted(slot: str, wanted: str, record: Row) -> str:
    """Returns a taxi's value in the goal's spelling, where it is the same place or time."""
    value = record.get(slot, MISSING)
    form = clean_time if slot in ("leaveAt", "arriveBy") else clean_name
    return wanted if form(value) == form(wanted) else value


def _mentions(slot: str, value: str, said: str) -> bool:
    if slot in ("leaveAt", "arriveBy"):
        return _says(slot, clean_time(value), said)
    return f" {clean_name(value)} " in f" {clean_name(said)} "


def _car(said: str, database: Database) -> dict[str, str]:
    colours, makes = ("|".join(words) for words in database.taxi)
    car = re.search(rf"\b(?:{colours}) (?:{makes})\b", said, re.IGNORECASE)
    if car is None:
        return {}
    phone = _TAXI_PHONE.search(said, car.end()) or _TAXI_PHONE.search(said)
    return {"car type": car.group()} | ({"phone": phone.group()} if phone else {})
