"""Reads Schema-Guided Dialogue as it is published: what CRA dialogues are made from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json
from coalm_oumi.files.jsontext import read_json, read_json_list

Scope = Literal["all", "dialogue"]
"""Which functions a prompt lists: all services', as in Figure 6, or the dialogue's services'."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the schema.

    Attributes:
        functions: Its functions (SGD calls them intents), by name.
        values: The possible values of its categorical slots, by slot.
    """

    functions: Mapping[str, Function]
    values: Mapping[str, Sequence[str]]


Services = Mapping[str, Service]
"""The services of a split, by name, in the order of its schema."""


def check_scope(scope: str) -> Scope:
    """Returns a scope that a configuration names.

    Raises:
        CoalmError: It is none.
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
    content = read_json(file)
    try:
        return {
            service["service_name"]: Service(
                functions={
                    intent["name"]: Function(
                        name=intent["name"],
                        description=intent["description"],
                        required=tuple(intent["required_slots"]),
                        optional=dict(intent["optional_slots"]),
                    )
                    for intent in service["intents"]
                },
                values={
                    slot["name"]: tuple(slot["possible_values"])
                    for slot in service["slots"]
                    if slot["is_categorical"]
                },
            )
            for service in content
        }
    except (KeyError, TypeError) as error:
        raise CoalmError(f"{file}: not an SGD schema: {error!r}") from error


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
    if not isinstance(record, dict) or not isinstance(record.get("dialogue_id"), str):
        raise CoalmError("`dialogue_id` is missing")
    used = record.get("services")
    if not isinstance(used, list) or not used or not all(isinstance(s, str) for s in used):
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
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise CoalmError("`turns` is missing or not a list of turns")
    said = [turn.get("utterance") for turn in turns if turn.get("speaker") == "USER"]
    if not said or not all(isinstance(text, str) and text.strip() for text in said):
        raise CoalmError("the user says nothing, or an utterance is missing or empty")
    return [" ".join(text.split()) for text in said]


def functions(services: Services, used: Sequence[str], scope: Scope) -> list[Function]:
    """Lists functions by name. Of two with one name, the dialogue's own service decides."""
    return [function for function, _ in catalogue(services, used, scope).values()]


def catalogue(
    services: Services, used: Sequence[str], scope: Scope
) -> Mapping[str, tuple[Function, Mapping[str, Sequence[str]]]]:
    """Returns functions by name, each with the possible values of its categorical arguments."""
    names = list(used) if scope == "dialogue" else [*services, *used]
    merged = {
        name: (function, services[service].values)
        for service in names
        for name, function in services[service].functions.items()
    }
    return dict(sorted(merged.items()))
