"""The agent's tools: typed queries, and one dialogue's bookings, which may fail.

The world is one of Oumi's environments, registered as `coalm-multiwoz`.
"""
# pyright: standard

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Not from `oumi.environments`: Oumi may be loading it while it loads this package.
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolError, ToolParams
from oumi.core.registry import register_environment
from oumi.core.types.tool_call import ToolResult
from oumi.environments.base_environment import BaseEnvironment

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options, Text
from coalm_oumi.evaluation.multiwoz import fetch
from coalm_oumi.evaluation.multiwoz.data import Goal
from coalm_oumi.evaluation.multiwoz.database import SEARCHABLE, Database
from coalm_oumi.evaluation.multiwoz.values import canonical, clean, clean_name, clean_time, is_given
from coalm_oumi.formats.calls import FunctionCall

MAX_RECORDS = 5
"""The most records that a query shows, as in AutoTOD; it also gives the number of all."""

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_AREA = "area: centre, north, south, east or west"
_PRICE = "pricerange: cheap, moderate or expensive"
_TIMES = "leaveAt and arriveBy: hh:mm"


def _query(domain: str, description: str) -> Function:
    return Function(f"query_{domain}", description, optional=dict.fromkeys(SEARCHABLE[domain]))


FUNCTIONS: Sequence[Function] = (
    _query("restaurant", f"Find restaurants. {_AREA}; {_PRICE}; food: the cuisine."),
    Function("book_restaurant", "Book a table. day: a day of the week; time: hh:mm.",
             required=("name", "people", "day", "time")),
    _query("hotel", f"Find places to stay. {_AREA}; {_PRICE}; type: hotel or guesthouse; "
                    "parking and internet: yes or no; stars: a number."),
    Function("book_hotel", "Book rooms. day: the day of arrival; stay: the number of nights.",
             required=("name", "people", "day", "stay")),
    _query("attraction", f"Find places to visit. {_AREA}; type: museum, college, theatre, ..."),
    _query("train", f"Find trains. day: a day of the week; {_TIMES}."),
    Function("book_train", "Buy train tickets. people: how many tickets.",
             required=("trainID", "people")),
    Function("book_taxi", f"Book a taxi. {_TIMES}, at least one of them.",
             required=("departure", "destination"), optional={"leaveAt": None, "arriveBy": None}),
    _query("hospital", "Find the phone number of a department of the hospital."),
    _query("police", "Find the police station."),
)  # fmt: skip
"""The tools. Their arguments are MultiWOZ's slots, so that calls say what the agent understood."""


def _tool(function: Function) -> ToolParams:
    """Declares a tool as Oumi does. Every argument is text, as MultiWOZ's values are."""
    arguments = (*function.required, *function.optional)
    return ToolParams(
        id=function.name,
        name=function.name.replace("_", " "),
        description=function.description,
        parameters={
            "type": "object",
            "properties": {name: {"type": "string"} for name in arguments},
            "required": list(function.required),
        },
        read_only=function.name.startswith("query_"),
    )


TOOLS: Sequence[ToolParams] = tuple(_tool(function) for function in FUNCTIONS)
"""The same tools as Oumi declares them. Those that book are not read-only."""

ENV_TYPE = "coalm-multiwoz"

_BY_NAME = {function.name: function for function in FUNCTIONS}

_ALIASES = {
    "price": "pricerange", "price range": "pricerange", "price_range": "pricerange",
    "leave": "leaveAt", "leave time": "leaveAt", "leave_time": "leaveAt", "leaveat": "leaveAt",
    "arrive": "arriveBy", "arrive time": "arriveBy", "arrive_time": "arriveBy",
    "arriveby": "arriveBy", "train id": "trainID", "train_id": "trainID", "trainid": "trainID",
    "tickets": "people", "ticket": "people", "wifi": "internet", "cuisine": "food",
}  # fmt: skip
"""Other names for the same slots, AutoTOD's among them."""

_SYMBOLS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""The characters of reference numbers. I, O, 0 and 1 are easily misread."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A booking made.

    Attributes:
        reference: Its reference number.
        domain: What was booked.
        record: The value of each slot; for a taxi also its `car type` and `phone`.
    """

    reference: str
    domain: str
    record: Mapping[str, str]


class WorldKwargs(Options):
    """The options of the world, under `env_kwargs`.

    Attributes:
        database: The folder of `<domain>_db.json` files, or its address.
        dialogue_id: Names the dialogue. References and phone numbers follow from it.
    """

    database: Text
    dialogue_id: Text = "chat"


@register_environment(ENV_TYPE)
class World(BaseEnvironment):
    """The databases, and the bookings of one dialogue.

    References, cars and phone numbers depend only on the dialogue and the booking's number, so that
    a repeated dialogue is the same.
    """

    def __init__(self, database: Database, dialogue_id: str, goals: Mapping[str, Goal]) -> None:
        """Opens an empty book.

        Args:
            database: The records, shared with other dialogues.
            dialogue_id: The dialogue.
            goals: The user's goals. A booking fails if the goal says so.
        """
        self._database = database
        self._dialogue_id = dialogue_id
        self._refused = {d: goal.fail_book for d, goal in goals.items() if goal.fail_book}
        self._bookings: list[Booking] = []

    @classmethod
    def from_params(cls, params: EnvironmentParams) -> "World":
        """Builds the world of a recipe, in which no booking fails by design.

        A recipe that lists no tools gets all of them.

        Raises:
            CoalmError: The databases are missing.
            ValueError: The recipe lists a tool that MultiWOZ does not have.
        """
        unknown = [tool.id for tool in params.tools if tool.id not in _BY_NAME]
        if unknown:
            raise ValueError(f"no tool `{unknown[0]}`; the tools are {', '.join(_BY_NAME)}")
        params.tools = params.tools or list(TOOLS)
        kwargs = WorldKwargs.read(
            params.env_kwargs or {}, where=f"environment `{params.id}`: env_kwargs"
        )
        database = Database(fetch.local_databases(kwargs.database))
        return cls(database, kwargs.dialogue_id, goals={})

    def requires_isolation(self) -> bool:
        """Returns True: bookings are one dialogue's."""
        return True

    def read_call(self, call: FunctionCall) -> FunctionCall:
        """Reads a call under the tools' own names, with every value as text.

        Raises:
            ToolError: There is no such tool, an argument is unknown or is not one value, or a
                required one is missing.
        """
        function = _function(call.name)
        arguments = _given_arguments(function, call)
        missing = [slot for slot in function.required if slot not in arguments]
        if missing:
            raise ToolError(f"`{function.name}` still needs {', '.join(missing)}")
        return FunctionCall(function.name, arguments)

    def step(self, calls: list[tuple[str, dict[str, Json]]]) -> list[ToolResult]:
        """Runs calls in order.

        Raises:
            ToolError: One cannot be carried out. The message says what would be right.
        """
        results: list[ToolResult] = []
        for name, arguments in calls:
            action, _, domain = name.partition("_")
            run = self._query if action == "query" else self._booking
            results.append(ToolResult(output=run(domain, arguments)))
        return results

    def bookings(self) -> list[Booking]:
        """Returns what was booked, in order."""
        return list(self._bookings)

    def _query(self, domain: str, arguments: Mapping[str, str]) -> Json:
        found = self._database.search(domain, arguments)
        shown = [dict(row) for row in found[:MAX_RECORDS]]
        return {"status": "success", "count": len(found), "results": shown}

    def _booking(self, domain: str, arguments: Mapping[str, str]) -> Json:
        record = self._checked(domain, arguments)
        refused = self._refused.get(domain)
        if refused and all(
            record.get(slot) == _value(slot, value) for slot, value in refused.items()
        ):
            slots = ", ".join(f"{slot} {value}" for slot, value in refused.items())
            raise ToolError(f"nothing is available for {slots}; try another {' or '.join(refused)}")
        number = len(self._bookings) + 1
        digest = hashlib.sha256(f"{self._dialogue_id} {number}".encode()).digest()
        reference = "".join(_SYMBOLS[byte % len(_SYMBOLS)] for byte in digest[:8])
        told = {"reference": reference}
        if domain == "taxi":
            colours, makes = self._database.taxi
            told = {
                "car type": f"{colours[digest[8] % len(colours)]} {makes[digest[9] % len(makes)]}",
                "phone": "".join(str(byte % 10) for byte in digest[10:20]),
            }
            record |= told
        self._bookings.append(Booking(reference, domain, record))
        return {"status": "success", **told}

    def _checked(self, domain: str, arguments: Mapping[str, str]) -> dict[str, str]:
        """Checks a booking's values against their types and the databases."""
        record = {slot: _value(slot, value) for slot, value in arguments.items() if is_given(value)}
        for slot, value in record.items():
            if slot in ("people", "stay") and not (value.isdecimal() and int(value) > 0):
                raise ToolError(f"{slot}: expected a number above 0, found `{value}`")
            if slot == "day" and value not in DAYS:
                raise ToolError(f"day: expected a day of the week, found `{value}`")
            if slot in ("time", "leaveAt", "arriveBy") and not re.fullmatch(r"\d\d:\d\d", value):
                raise ToolError(f"{slot}: expected a time as hh:mm, found `{value}`")
        # A call that gives `dontcare` has the argument, but nothing to book.
        missing = [slot for slot in _BY_NAME[f"book_{domain}"].required if slot not in record]
        if missing:
            raise ToolError(f"still needed: {', '.join(missing)}")
        if domain == "taxi":
            if not record.keys() & {"leaveAt", "arriveBy"}:
                raise ToolError("still needed: leaveAt or arriveBy")
            if clean_name(record["departure"]) == clean_name(record["destination"]):
                raise ToolError("departure and destination are the same place")
        elif domain == "train":
            trains = self._database.trains(record["trainID"])
            if not trains:
                raise ToolError(f"there is no train `{record['trainID']}`; find one first")
            record["trainID"] = trains[0]["trainID"]
        else:
            venue = self._database.venue(domain, record["name"])
            if venue is None:
                raise ToolError(f"there is no {domain} `{record['name']}`; find one first")
            record["name"] = venue["name"]
        return record


def _function(name: str) -> Function:
    bare = re.sub(r"\W+", "_", name.strip().lower())
    function = _BY_NAME.get(bare) or _BY_NAME.get(bare.removesuffix("s"))
    if function is None:
        raise ToolError(f"there is no tool `{name}`; the tools are {', '.join(_BY_NAME)}")
    return function


def _given_arguments(function: Function, call: FunctionCall) -> dict[str, str]:
    """Returns a call's arguments as text under the function's own names, empty ones left out."""
    known = (*function.required, *function.optional)
    arguments: dict[str, str] = {}
    for name, value in call.arguments.items():
        slot = name if name in known else _ALIASES.get(clean(name), name)
        if slot not in known:
            raise ToolError(f"`{function.name}` takes no `{name}`; it takes {', '.join(known)}")
        if isinstance(value, list | dict):
            raise ToolError(f"`{slot}` takes one value")
        if value is not None and clean(value):
            arguments[slot] = _text(value)
    return arguments


def read_call(call: FunctionCall) -> tuple[str, str, Mapping[str, str]] | None:
    """Returns a call's action (`query` or `book`), domain and given arguments.

    Required arguments may be missing. Returns None for an unknown tool or argument.
    """
    try:
        function = _function(call.name)
        action, _, domain = function.name.partition("_")
        return action, domain, _given_arguments(function, call)
    except ToolError:
        return None


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text.encode("utf-8", "replace").decode()  # SQLite takes no halves of surrogate pairs


def _value(slot: str, value: str) -> str:
    if slot in ("time", "leaveAt", "arriveBy"):
        return clean_time(value)
    return clean(value) if slot in ("name", "departure", "destination") else canonical(slot, value)
