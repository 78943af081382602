"""Makes CRA turns from SGD's annotations, which contain calls, results and dialogue acts.

The thoughts come from templates (`prompts/cra_thought_*.jinja`), so no API key is needed. They
restate what the user said in the turn, name the function but none of its arguments, and agree with
the observation.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_list
from coalm_oumi.core.options import checked
from coalm_oumi.data.cra import listing, observation
from coalm_oumi.data.cra.dialogue import ApiStep, CraTurn, Target
from coalm_oumi.data.cra.evidence import gather
from coalm_oumi.data.cra.listing import ListedCall
from coalm_oumi.data.cra.sgd import TODAY, TURNS, Service, Services
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FLAG = re.compile(r"^(?:has|is|are|serves|offers|good for|allows) ")
"""The beginnings of names of yes-or-no slots, such as `has_wifi`."""

_UNNAMED = re.compile(r"date|time|number|count|size|price|fare|rent|phone|passengers|travelers")
"""Slots whose values do not tell what a conversation is about."""

_DETAILS = re.compile(
    r"(?<=\w)(?<!^search)(?<!^look) (?:in|at|by|with|to|from|for|on|and|based|between|using) .*",
    re.IGNORECASE,
)
"""Words after the object of a function's description: "Find a restaurant" ends before them."""

NOTHING_TELLS_THE_DAY = "the thought says what day it is, which nothing in the prompt tells"


_ORDER = {"INFORM_INTENT": 0, "INFORM": 1, "THANK_YOU": 3, "GOODBYE": 3}
"""The order of the acts of one turn. Acts that are not listed go in the middle."""

CLOSING = "a closing turn beyond the share of them that is kept"


@dataclass(frozen=True, slots=True)
class Detail:
    """A slot in a dialogue act, with its value in the speaker's words, or empty.

    Attributes:
        slot: The slot's name as words.
        value: The value as the speaker says it.
        canonical: The value in calls and results.
        is_flag: Whether the value is a yes or no.
    """

    slot: str
    value: str
    canonical: str
    is_flag: bool


@dataclass(frozen=True, slots=True)
class Act:
    """One dialogue act of a turn, for the templates.

    Attributes:
        name: SGD's name, such as `INFORM`.
        details: Its slots.
        goal: What its function does, in words; empty if it has none.
    """

    name: str
    details: Sequence[Detail]
    goal: str = ""


@dataclass(slots=True)
class _Dialogue:
    """The state of a dialogue so far.

    Attributes:
        name: The dialogue's id, which seeds the choice of phrases.
        services: The split's schema.
        listed: The functions that the prompt lists; None for all, with all their arguments.
        max_results: The most results that an observation keeps; None for all.
        closings: The share of closing turns to make samples of.
        heard: Everything that was said and observed.
        calls: The calls so far, as written.
        topic: The last thing that was offered, chosen or booked.
    """

    name: str
    services: Services
    listed: Sequence[Function] | None
    max_results: int | None
    closings: float
    heard: list[str] = field(default_factory=list)
    calls: list[FunctionCall] = field(default_factory=list)
    topic: str = ""

    def has_heard(self, text: str) -> bool:
        """Returns True if a text was said or observed before, in any case."""
        return any(text.casefold() in heard.casefold() for heard in self.heard)

    def pick(self, turn: int) -> int:
        """Returns a number that chooses between phrases, the same in every build."""
        return int.from_bytes(hashlib.sha256(f"{self.name}/{turn}".encode()).digest()[:4], "big")


def annotated_turns(
    record: Json,
    services: Services,
    *,
    listed: Sequence[Function] | None = None,
    max_results: int | None = None,
    closings: float = 1.0,
) -> list[CraTurn]:
    """Makes turns from a dialogue's own annotations, with templated thoughts.

    Args:
        record: The dialogue, in SGD's form.
        services: The split's schema.
        listed: The functions that the prompts list, to which calls are fitted; None keeps calls
            as annotated.
        max_results: The most results of a call that an observation keeps; None for all.
        closings: The share of samples to make of turns in which the system only says goodbye or
            asks for more.

    Raises:
        CoalmError: The record is not annotated like SGD.
    """
    turns = record.get("turns")
    if not is_list(turns) or not turns:
        raise CoalmError("`turns` is missing or empty")
    checked(TURNS, turns, where="not annotated as SGD is: turns")
    for number, turn in enumerate(turns):
        for frame in turn["frames"]:
            if frame["service"] not in services:
                raise CoalmError(
                    f"turn {number}: service `{frame['service']}` is not in schema.json"
                )
    try:
        speakers = [turn["speaker"] for turn in turns]
        if speakers[: len(turns) // 2 * 2] != ["USER", "SYSTEM"] * (len(turns) // 2):
            raise CoalmError("the speakers do not alternate, user first")
        name = str(record.get("dialogue_id"))
        dialogue = _Dialogue(name, services, listed, max_results, closings)
        return [_turn(dialogue, turns, number) for number in range(0, len(turns) - 1, 2)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CoalmError(f"not annotated as SGD is: {error!r}") from error


def _turn(dialogue: _Dialogue, turns: Sequence[Json], number: int) -> CraTurn:
    user, system = turns[number], turns[number + 1]
    for turn in (user, system):
        if not isinstance(turn["utterance"], str) or not turn["utterance"].strip():
            raise CoalmError("an utterance is missing or empty")
    dialogue.heard.append(user["utterance"])
    said, aims = _acts(dialogue, user), _acts(dialogue, system)
    frame = next((frame for frame in system["frames"] if "service_call" in frame), None)
    pick = dialogue.pick(number)
    context: dict[str, Json] = {
        "said": said,
        "aims": aims,
        "topic": dialogue.topic,
        "is_booking": False,
        "function": _active_function(user, dialogue.services),
        "pick": pick,
    }
    if frame is None:
        known = {value for value in _values(aims) if dialogue.has_heard(value)}
        thought = prompts.render("cra_thought_reply", known=known, **context)
        left_out: dict[Target, str] = {}
        is_closing = {act.name for act in aims} <= {"GOODBYE", "REQ_MORE"}
        if is_closing and pick % 1000 >= dialogue.closings * 1000:
            left_out = {"response": CLOSING, "decision": CLOSING}
        made = CraTurn(user["utterance"], thought, None, system["utterance"], left_out)
    else:
        made = _called_turn(dialogue, turns, number, frame, context)
    dialogue.heard.append(system["utterance"])
    dialogue.topic = _topic(aims) or _topic(said) or dialogue.topic
    return made


def _called_turn(
    dialogue: _Dialogue,
    turns: Sequence[Json],
    number: int,
    frame: Json,
    context: Mapping[str, Json],
) -> CraTurn:
    user, system = turns[number], turns[number + 1]
    service = dialogue.services[frame["service"]]
    listed = _listed_call(dialogue, service, frame)
    method, results = listed.call.name, frame.get("service_results", [])
    dates = _unclear_dates(dialogue, listed.call, _wordings(user, frame["service"]))
    context = {**context, "function": method, "is_booking": method in service.bookings}
    thought = prompts.render(
        "cra_thought_action",
        call=listed.call,
        unlisted=[_spaced(name) for name in listed.unlisted],
        dates=dates,
        today=TODAY,
        **context,
    )
    observed = observation.write(
        results,
        listed.call,
        service,
        frame["service"],
        turns[number + 1 :: 2],
        max_results=dialogue.max_results,
    )
    dialogue.heard += [thought, observed]
    reflection = prompts.render(
        "cra_thought_observation",
        results=len(results),
        failed=any(act.name == "NOTIFY_FAILURE" for act in context["aims"]),
        differences=_differences(listed.call, results, service),
        known={v for v in _values(context["aims"]) if v.casefold() in observed.casefold()},
        **context,
    )
    return CraTurn(
        user=user["utterance"],
        thought=thought,
        api=ApiStep(listed.call, observed, reflection),
        system=system["utterance"],
        left_out={**({"decision": NOTHING_TELLS_THE_DAY} if dates else {}), **listed.left_out},
    )


def _listed_call(dialogue: _Dialogue, service: Service, frame: Json) -> ListedCall:
    """Reads a call, fits it to the prompt's functions, and records it."""
    method = frame["service_call"]["method"]
    if method not in service.functions:
        raise CoalmError(f"`{method}` is not a function of {frame['service']}")
    call = FunctionCall(method, service.typed(frame["service_call"]["parameters"]))
    listed = ListedCall(call)
    if dialogue.listed is not None:
        listed = listing.fit(call, service, dialogue.listed, earlier=dialogue.calls)
    dialogue.calls.append(listed.call)
    return listed


def _acts(dialogue: _Dialogue, turn: Json) -> list[Act]:
    """Groups a turn's slots by act, in order of first mention."""
    details: dict[tuple[str, str], list[Detail]] = {}
    for frame in turn["frames"]:
        service = dialogue.services[frame["service"]]
        for action in frame["actions"]:
            goal = ""
            if action["act"] == "INFORM" and not action["slot"]:
                raise CoalmError("an act INFORM names no slot")
            if action["slot"] == "intent":
                goal = _goal(service.functions.get(action["canonical_values"][0]))
            elif action["act"] in ("AFFIRM_INTENT", "NEGATE_INTENT"):
                goal = _goal(service.functions.get(_intent(frame)))
            found = details.setdefault((action["act"], goal), [])
            if action["slot"] and action["slot"] not in ("intent", "count"):
                found += _details(action, service)
    acts = [Act(name, found, goal) for (name, goal), found in details.items()]
    # The templates use only the first two: what the user wants, then the details, then thanks.
    return sorted(acts, key=lambda act: _ORDER.get(act.name, 2))


def _details(action: Json, service: Service) -> list[Detail]:
    is_flag = service.kinds.get(action["slot"]) == "boolean"
    slot = _spaced(action["slot"])
    if is_flag:
        slot = _FLAG.sub("", slot)
    canonical = action.get("canonical_values") or action["values"]
    if not action["values"]:
        return [Detail(slot, "", "", is_flag)]
    return [
        Detail(slot, value, exact, is_flag)
        for value, exact in zip(action["values"], canonical, strict=False)
    ]


def _values(acts: Sequence[Act]) -> list[str]:
    """Lists the values that acts name, as calls and results have them."""
    return [detail.canonical for act in acts for detail in act.details if detail.canonical]


def _topic(acts: Sequence[Act]) -> str:
    """Returns the first thing that an offer or a confirmation names."""
    named = [
        detail
        for act in acts
        if act.name in ("OFFER", "CONFIRM", "SELECT")
        for detail in act.details
        if detail.value and not detail.is_flag and not _UNNAMED.search(detail.slot)
    ]
    # A restaurant's name is a better topic than its city.
    named.sort(key=lambda detail: not detail.slot.endswith(("name", "title")))
    return named[0].value if named else ""


def _intent(frame: Json) -> str:
    return frame.get("state", {}).get("active_intent", "")


def _active_function(user: Json, services: Services) -> str:
    """Returns the function that the user is heading for; empty if there is none."""
    for frame in reversed(user["frames"]):
        if _intent(frame) in services[frame["service"]].functions:
            return _intent(frame)
    return ""


def _wordings(user: Json, service: str) -> Mapping[str, Sequence[str]]:
    """Returns how the speakers have put each slot's value, as SGD tracks it."""
    for frame in user["frames"]:
        if frame["service"] == service:
            return frame.get("state", {}).get("slot_values", {})
    return {}


def _unclear_dates(
    dialogue: _Dialogue, call: FunctionCall, wordings: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Finds the dates of a call that nothing heard so far gives in full.

    Returns:
        For each, the user's words for it (empty if there are none), and the date.
    """
    known = gather(dialogue.heard)
    unclear: dict[str, str] = {}
    for name, value in call.arguments.items():
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            continue
        _, month, day = map(int, value.split("-"))
        if any((month, day) == date[1:] for date in known.dates):
            continue
        said = [word for word in wordings.get(name, ()) if dialogue.has_heard(word)]
        unclear.setdefault(value, said[-1] if said else "")
    return [(wording, date) for date, wording in unclear.items()]


def _differences(
    call: FunctionCall, results: Sequence[Mapping[str, Json]], service: Service
) -> list[tuple[str, Json, Json]]:
    """Compares a call with its first result: the argument, the asked value and the result's."""
    if not results:
        return []
    first = service.typed(results[0])
    return [
        (_spaced(name), value, first[name])
        for name, value in call.arguments.items()
        if name in first and first[name] != value
    ]


def _goal(function: Function | None) -> str:
    """Makes a description such as "Find a bus to a city" the tail of "The user wants to"."""
    if function is None:
        return ""
    text = _DETAILS.sub("", function.description.rstrip(". ")) or _spaced(function.name)
    return text[0].lower() + text[1:]


def _spaced(name: str) -> str:
    """Writes `FindBus` and `leaving_date` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
