"""Reads the published Schema-Guided Dialogue, from which CRA dialogues are made."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NotRequired, cast, get_args

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.core.options import checked
from coalm_oumi.files.jsontext import read_json, read_json_list
from coalm_oumi.formats.calls import FunctionCall

Scope = Literal["all", "dialogue"]
"""Which functions a prompt lists: all services', as in Figure 6, or the dialogue's services'."""

Signatures = Literal["required", "full"]
"""Which arguments a prompt lists: the required ones, as in the paper, or all."""

Kind = Literal["integer", "boolean", "string"]
"""The type of a slot's values."""

TODAY = "2019-03-01"
"""The day on which all of SGD's dialogues take place: the date that its calls give for "today"."""

_COUNT = re.compile(r"(?:the )?(?:number|amount) of |party size\b", re.IGNORECASE)
"""The schema's description of a slot that counts, as in `Number of days in the reservation`."""

_INTEGER = re.compile(r"0|[1-9]\d{0,14}")


class SlotRecord(TypedDict):
    """A slot of `schema.json`."""

    name: str
    description: NotRequired[str]
    is_categorical: bool
    possible_values: list[str]


class IntentRecord(TypedDict):
    """An intent of `schema.json`: a function."""

    name: str
    description: str
    is_transactional: NotRequired[bool]
    required_slots: list[str]
    optional_slots: dict[str, Json]


class ServiceRecord(TypedDict):
    """A service of `schema.json`."""

    service_name: str
    slots: list[SlotRecord]
    intents: list[IntentRecord]


_SCHEMA = TypeAdapter(list[ServiceRecord])


class SgdAct(TypedDict):
    """A dialogue act."""

    act: str
    slot: str
    values: list[str]
    canonical_values: NotRequired[list[str]]


class ServiceCall(TypedDict):
    """A call of a service."""

    method: str
    parameters: dict[str, str]


class SgdState(TypedDict):
    """The user's requests so far, for one service."""

    active_intent: NotRequired[str]
    slot_values: NotRequired[dict[str, list[str]]]


class SgdFrame(TypedDict):
    """The annotation of a turn, for one service."""

    service: str
    actions: list[SgdAct]
    state: NotRequired[SgdState]
    service_call: NotRequired[ServiceCall]
    service_results: NotRequired[list[dict[str, str]]]


class SgdTurn(TypedDict):
    """A turn of a dialogue."""

    speaker: str
    utterance: str
    frames: list[SgdFrame]


TURNS = TypeAdapter(list[SgdTurn])
"""The turns of an annotated dialogue."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the schema.

    Attributes:
        functions: Its functions (SGD calls them intents), by name.
        bookings: Which of them change something, such as a reservation. The others search.
        values: The possible values of its categorical slots, by slot.
        kinds: The type of each slot's values, by slot.
    """

    functions: Mapping[str, Function]
    bookings: frozenset[str]
    values: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Kind]

    def typed(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Gives values their types: SGD writes each as text, Figure 6 `number_of_seats=2`.

        Args:
            values: Values by slot. Those that do not look like their slot's type stay as they are.
        """
        return {name: _typed(self.kinds.get(name), value) for name, value in values.items()}


Services = Mapping[str, Service]
"""The services of a split, by name, in the order of its schema."""

Variant = tuple[Function, Mapping[str, Sequence[str]]]
"""A function, and the possible values of its categorical arguments."""

Catalogue = Mapping[str, Sequence[Variant]]
"""The callable functions, by name. Services share names: SGD has two functions `FindBus`."""


def check_scope(scope: str) -> Scope:
    """Returns a scope that a configuration names.

    Raises:
        CoalmError: There is no such scope.
    """
    if scope not in get_args(Scope):
        raise CoalmError(f"functions: `{scope}` is neither `all` nor `dialogue`")
    return cast(Scope, scope)


def read_services(folder: Path) -> Services:
    """Reads the schema of a split.

    Raises:
        CoalmError: It is missing or not of SGD's shape.
    """
    file = folder / "schema.json"
    content = checked(_SCHEMA, read_json(file), where=f"{file}: not an SGD schema")
    return {service["service_name"]: _service(service) for service in content}


def records(folder: Path) -> Iterator[tuple[str, Json]]:
    """Yields the dialogues of a split, unchecked, each with its place.

    Raises:
        CoalmError: There is no file, or one is not a JSON list.
    """
    files = sorted(folder.glob("dialogues_*.json"))
    if not files:
        raise CoalmError(f"{folder}: no dialogues_*.json here; point to one split of SGD")
    for file in files:
        for index, record in enumerate(read_json_list(file, of="dialogues")):
            yield f"{file}[{index}]", record


def identify(record: Json, services: Services) -> tuple[str, Sequence[str]]:
    """Returns a dialogue's id and the names of its services.

    Raises:
        CoalmError: They are missing or not in the schema.
    """
    if not is_object(record) or not isinstance(record.get("dialogue_id"), str):
        raise CoalmError("`dialogue_id` is missing")
    used = record.get("services")
    if not is_list(used) or not used or not all(isinstance(s, str) for s in used):
        raise CoalmError("`services` is missing or empty")
    for service in used:
        if service not in services:
            raise CoalmError(f"service `{service}` is not in schema.json")
    return record["dialogue_id"], used


def user_inputs(record: Json) -> list[str]:
    """Returns what the user says, turn by turn.

    Raises:
        CoalmError: The turns are missing, or an utterance is.
    """
    turns = record.get("turns")
    if not is_list(turns) or not all(is_object(turn) for turn in turns):
        raise CoalmError("`turns` is missing or not a list of turns")
    said = [turn.get("utterance") for turn in turns if turn.get("speaker") == "USER"]
    if not said or not all(isinstance(text, str) and text.strip() for text in said):
        raise CoalmError("the user says nothing, or an utterance is missing or empty")
    return [" ".join(text.split()) for text in said]


def functions(
    services: Services, used: Sequence[str], scope: Scope, signatures: Signatures = "full"
) -> list[Function]:
    """Lists functions in the schema's order, one per service that has it (Table 6 lists 53).

    Args:
        services: The split's schema.
        used: The dialogue's own services.
        scope: Which services' functions to list.
        signatures: `required` lists the functions without their optional arguments.
    """
    listed = [
        function
        for name, service in services.items()
        if scope == "all" or name in used
        for function in service.functions.values()
    ]
    if signatures == "required":
        return [replace(function, optional={}) for function in listed]
    return listed


def distinct(functions: Sequence[Function]) -> list[Function]:
    """Drops functions whose signature another one has (Figure 6 lists 51 of the 53)."""
    return list({function.signature(): function for function in reversed(functions)}.values())[::-1]


def catalogue(services: Services, used: Sequence[str], scope: Scope) -> Catalogue:
    """Returns the functions that a dialogue may call, with all their arguments, by name."""
    variants: dict[str, list[Variant]] = {}
    for name, service in services.items():
        if scope == "all" or name in used:
            for function in service.functions.values():
                variants.setdefault(function.name, []).append((function, service.values))
    return dict(sorted(variants.items()))


def find_service(services: Services, used: Sequence[str], call: FunctionCall) -> Service | None:
    """Finds the service that a call is made to: the one whose arguments fit it best.

    Args:
        services: The split's schema.
        used: The dialogue's own services, which go first.
        call: The call.

    Returns:
        The service; None if no service has a function of this name.
    """
    names = [*(name for name in used if name in services), *services]
    offering = [services[name] for name in names if call.name in services[name].functions]
    if not offering:
        return None
    return min(offering, key=lambda service: misfit(call, service.functions[call.name]))


def misfit(call: FunctionCall, function: Function) -> int:
    """Counts the arguments that a call lacks, or that a function does not have."""
    known = {*function.required, *function.optional}
    missing = sum(name not in call.arguments for name in function.required)
    return missing + sum(name not in known for name in call.arguments)


def _service(record: ServiceRecord) -> Service:
    slots = record["slots"]
    kinds: dict[str, Kind] = {slot["name"]: _kind(slot) for slot in slots}
    return Service(
        functions={
            intent["name"]: Function(
                name=intent["name"],
                description=intent["description"],
                required=tuple(intent["required_slots"]),
                optional={
                    name: _typed(kinds.get(name), default)
                    for name, default in intent["optional_slots"].items()
                },
            )
            for intent in record["intents"]
        },
        bookings=frozenset(
            intent["name"] for intent in record["intents"] if intent.get("is_transactional")
        ),
        values={
            slot["name"]: tuple(slot["possible_values"]) for slot in slots if slot["is_categorical"]
        },
        kinds=kinds,
    )


def _kind(slot: SlotRecord) -> Kind:
    """Reads the type of a slot from its possible values, or from its description."""
    values = slot["possible_values"]
    if values and set(values) <= {"True", "False"}:
        return "boolean"
    if values:
        return "integer" if all(_INTEGER.fullmatch(value) for value in values) else "string"
    return "integer" if _COUNT.match(slot.get("description", "")) else "string"


def _typed(kind: Kind | None, value: Json) -> Json:
    if kind == "integer" and isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "boolean" and value in ("True", "False"):
        return value == "True"
    return value
