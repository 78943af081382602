"""MultiWOZ's dialogues, goals and belief states, from the published archive."""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_list, is_object, loads
from coalm_oumi.core.options import checked
from coalm_oumi.evaluation.multiwoz.values import DOMAINS, canonical
from coalm_oumi.files.jsontext import read_json, read_jsonl

State = Mapping[str, tuple[str, ...]]
"""The accepted values of each slot that has one, by `domain-slot`, as in `hotel-book day`.

A slot has several accepted values if MultiWOZ 2.4 annotates alternatives.
"""

MAX_WORDS = 50
"""The usual preprocessing leaves out dialogues with longer or non-ASCII utterances. Of the 1,000
test dialogues 999 remain, as in the paper."""

MAX_BYTES = 512 * 2**20
"""The most bytes of an unpacked archive member. MultiWOZ's data.json has about 250 MB."""

_LISTS = {"test": "testListFile", "validation": "valListFile"}
_SPLITS = ("train", "validation", "test")
_ALTERNATIVES = re.compile(r"[|<>]")
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Goal:
    """The user's goal in one domain.

    Attributes:
        info: The constraints on the venue, train or taxi.
        fail_info: The first constraints of the user, which no venue satisfies.
        requests: The slots that the user asks about.
        book: The constraints on the booking; empty for none.
        fail_book: The slots in which the user's first booking, which is refused, differs.
    """

    info: Mapping[str, str]
    fail_info: Mapping[str, str]
    requests: tuple[str, ...]
    book: Mapping[str, str]
    fail_book: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the reference dialogue.

    Attributes:
        user: The user's words.
        system: The human operator's answer.
        state: The belief state after the user's turn; None if the file has none.
        booked: The domains that the human operator has booked up to this turn.
    """

    user: str
    system: str
    state: State | None
    booked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue of MultiWOZ.

    Attributes:
        dialogue_id: Its name without `.json`.
        goals: The user's goals, by domain.
        message: The goal in words, as the user was told, in items of one or two sentences.
        turns: The reference dialogue.
    """

    dialogue_id: str
    goals: Mapping[str, Goal]
    message: tuple[str, ...]
    turns: tuple[Turn, ...]


def read(path: Path, *, version: str, split: str = "test") -> list[Dialogue]:
    """Reads the dialogues of one split.

    Args:
        path: The archive (a folder or a `.zip` with `data.json` and the split lists), one JSON
            file of dialogues, taken whole, or the JSON Lines file of a run of AutoTOD, taken whole.
        version: The version of MultiWOZ it is said to be.
        split: `train`, `validation` or `test`.

    Returns:
        The dialogues, in the file's order; of an archive those that the field scores (`MAX_WORDS`).

    Raises:
        CoalmError: No such file, it is not MultiWOZ, or its name says another version.
    """
    if split not in _SPLITS:
        raise CoalmError(f"split `{split}`: expected one of {', '.join(_SPLITS)}")
    named = re.findall(r"2\.[0-4](?!\d)", path.name)
    if named and version not in named:
        raise CoalmError(
            f"{path}: the file's name says MultiWOZ {named[0]}, and the recipe {version}; correct "
            "one of them"
        )
    if path.suffix == ".jsonl":
        return [_of_run(record, path, number) for number, record in read_jsonl(path)]
    data, lists = _archive(path)
    chosen = _of_split(data, lists, split, path)
    if not chosen:
        raise CoalmError(f"{path}: the split `{split}` has no dialogue")
    dialogues = [dialogue(name, data[name], path) for name in chosen]
    return [found for found in dialogues if _is_scored(found)]


def _is_scored(found: Dialogue) -> bool:
    texts = [text for turn in found.turns for text in (turn.user, turn.system)]
    return all(text.isascii() and len(text.split()) <= MAX_WORDS for text in texts)


def _archive(path: Path) -> tuple[dict[str, Json], dict[str, set[str]]]:
    """Reads the dialogues, and the names in each split list that is there."""
    if path.suffix != ".zip" and not path.is_dir():
        return _dialogues(read_json(path), path), {}
    texts = _members(path) if path.suffix == ".zip" else _files(path)
    lists: dict[str, set[str]] = {}
    whole: list[str] = []
    for name, text in texts.items():
        if split := _list_of(name):
            lists[split] = set(map(_bare, text.split()))
        else:
            whole.append(text)
    if len(whole) != 1:
        raise CoalmError(f"{path}: no data.json in it; expected MultiWOZ's archive as published")
    try:
        return _dialogues(loads(whole[0]), path), lists
    except ValueError as error:
        raise CoalmError(f"{path}: data.json is not valid JSON: {error}") from error


def _members(path: Path) -> dict[str, str]:
    """Reads data.json and the split lists of a zip file, or its only member, by their base name."""
    texts: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_data(member)]
            for member in members:
                name = Path(member.filename).name
                if not (name == "data.json" or _list_of(name) or len(members) == 1):
                    continue
                if name in texts:
                    raise CoalmError(
                        f"{path}: holds {name} twice, one at {member.filename}; unpack the zip "
                        "file and give the folder that holds the right one"
                    )
                texts[name] = _text(archive, member)
    # zipfile raises RuntimeError for an encrypted member and NotImplementedError for a compression
    # that it does not know.
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise CoalmError(f"{path}: cannot be read as a zip file: {error}") from error
    return texts


def _is_data(member: zipfile.ZipInfo) -> bool:
    return not member.is_dir() and "__MACOSX" not in member.filename


def _text(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """Reads a member. zipfile never reads more than the size that the member says it has."""
    if member.file_size > MAX_BYTES:
        raise ValueError(
            f"{member.filename} would unpack to {member.file_size:,} bytes; the limit is "
            f"{MAX_BYTES:,}"
        )
    return archive.read(member).decode("utf-8")


def _files(folder: Path) -> dict[str, str]:
    try:
        return {
            file.name: file.read_text(encoding="utf-8")
            for file in folder.iterdir()
            if file.name == "data.json" or _list_of(file.name)
        }
    except (OSError, UnicodeDecodeError) as error:
        raise CoalmError(f"{folder}: cannot be read: {error}") from error


def _list_of(name: str) -> str | None:
    stem = name.partition(".")[0]
    return next((split for split, listed in _LISTS.items() if stem == listed), None)


def _bare(name: str) -> str:
    return name.strip().removesuffix(".json")


def _dialogues(content: Json, path: Path) -> dict[str, Json]:
    if not is_object(content):
        raise CoalmError(f"{path}: expected an object of dialogues by name, as in data.json")
    return {_bare(name): record for name, record in content.items()}


def _of_split(
    data: Mapping[str, Json], lists: Mapping[str, set[str]], split: str, path: Path
) -> list[str]:
    if not lists:
        if split != "test":
            raise CoalmError(
                f"{path}: has no lists of the splits, so all of it is the test split; set "
                "split: test"
            )
        return list(data)
    missing = set(_LISTS) - set(lists)
    if missing:
        names = ", ".join(f"{_LISTS[name]}.json" for name in sorted(missing))
        raise CoalmError(f"{path}: {names} is missing; expected MultiWOZ's archive as published")
    if split == "train":
        return [name for name in data if not any(name in listed for listed in lists.values())]
    return [name for name in data if name in lists[split]]


class DomainRecord(TypedDict, total=False):
    """The annotation of a domain in a turn: the slots of the venue, and those of the booking."""

    semi: dict[str, str | list[str]]
    book: dict[str, Json]


class LogRecord(TypedDict):
    """One speaker's half of a turn. The system's half has the state."""

    text: str
    metadata: NotRequired[dict[str, DomainRecord]]


class GoalRecord(TypedDict):
    """What the user wants of a domain."""

    info: dict[str, str]
    fail_info: NotRequired[dict[str, str]]
    reqt: NotRequired[list[str]]
    book: NotRequired[dict[str, str | bool]]
    fail_book: NotRequired[dict[str, str]]


class DialogueRecord(TypedDict):
    """A dialogue of `data.json`. A domain without a goal is empty."""

    goal: dict[str, Json]
    log: list[LogRecord]


class AutotodTurn(TypedDict):
    """A turn of a run of AutoTOD."""

    user: str
    agent: str


class AutotodResult(TypedDict):
    """The result of a run of AutoTOD."""

    dialog_refer: list[AutotodTurn]
    goals: dict[str, Json]
    goal_messages: str | list[str]


class AutotodRun(TypedDict):
    """A dialogue of a run of AutoTOD."""

    dialog_id: str
    run_result: AutotodResult


_DIALOGUE = TypeAdapter(DialogueRecord)
_GOAL = TypeAdapter(GoalRecord)
_MESSAGE: TypeAdapter[str | list[str]] = TypeAdapter(str | list[str])
_RUN = TypeAdapter(AutotodRun)


def dialogue(name: str, record: Json, path: Path) -> Dialogue:
    """Reads one entry of `data.json`.

    Raises:
        CoalmError: The entry is not of that form.
    """
    where = f"{path}, {name}: not a dialogue of MultiWOZ"
    found = checked(_DIALOGUE, record, where=where)
    log, goal = found["log"], found["goal"]
    if len(log) % 2:
        raise CoalmError(f"{where}: log: {len(log)} halves of turns, which is odd")
    turns: list[Turn] = []
    for asked, answered in zip(log[::2], log[1::2], strict=True):
        if "metadata" not in answered:
            raise CoalmError(
                f"{where}: log: the system's half of turn {len(turns)} has no metadata"
            )
        state, booked = _state(answered["metadata"]), _booked(answered["metadata"])
        turns.append(Turn(asked["text"], answered["text"], state, booked))
    goals = _goals({domain: wanted for domain, wanted in goal.items() if wanted}, f"{where}: goal")
    message = checked(_MESSAGE, goal.get("message"), where=f"{where}: goal.message")
    return Dialogue(_bare(name), goals, _message(message), tuple(turns))


def _of_run(record: Json, path: Path, number: int) -> Dialogue:
    where = f"{path}:{number}: not a record of a run of AutoTOD"
    found = checked(_RUN, record, where=where)
    run = found["run_result"]
    turns = [Turn(turn["user"], turn["agent"], None) for turn in run["dialog_refer"]]
    goals = _goals(run["goals"], f"{where}: goals")
    return Dialogue(_bare(found["dialog_id"]), goals, _message(run["goal_messages"]), tuple(turns))


def _goals(records: Mapping[str, Json], where: str) -> dict[str, Goal]:
    """Reads the goals of the evaluated domains. The records may hold other keys too."""
    return {
        domain: _goal(checked(_GOAL, records[domain], where=f"{where}.{domain}"))
        for domain in DOMAINS
        if domain in records
    }


def _goal(record: GoalRecord) -> Goal:
    book = {slot: str(value) for slot, value in record.get("book", {}).items()
            if "invalid" not in slot}  # fmt: skip
    return Goal(
        info=record["info"],
        fail_info=record.get("fail_info", {}),
        requests=tuple(record.get("reqt", ())),
        book=book,
        fail_book=record.get("fail_book", {}),
    )


def _message(message: str | list[str]) -> tuple[str, ...]:
    """Returns the sentences of a goal without their mark-up. WOZ dialogues have one text."""
    if isinstance(message, str):
        text = re.sub(r"^Task \d+: ", "", message)
        message = re.split(r"(?<=\.)\s+", text)
    return tuple(_TAG.sub("", text).strip() for text in message)


def _booked(metadata: Mapping[str, DomainRecord]) -> frozenset[str]:
    return frozenset(domain for domain in DOMAINS if _slots(metadata, domain, "book").get("booked"))


def _slots(
    metadata: Mapping[str, DomainRecord], domain: str, name: Literal["semi", "book"]
) -> Mapping[str, Json]:
    """Returns the slots of a domain: those of the booking (`book`) or of the venue (`semi`)."""
    return metadata.get(domain, {}).get(name, {})


def _state(metadata: Mapping[str, DomainRecord]) -> State:
    """Flattens the annotation of a turn. Hospital, police and bus are not scored by the field."""
    slots: dict[str, tuple[str, ...]] = {}
    for domain in DOMAINS:
        semi, book = _slots(metadata, domain, "semi"), _slots(metadata, domain, "book")
        named = [(slot.lower(), value) for slot, value in semi.items()]
        named += [(f"book {slot.lower()}", value) for slot, value in book.items()
                  if slot not in ("booked", "ticket")]  # fmt: skip
        for slot, value in named:
            values = value if is_list(value) else _ALTERNATIVES.split(str(value))
            accepted = dict.fromkeys(canonical(slot, item) for item in values)
            accepted.pop("", None)
            if accepted:
                slots[f"{domain}-{slot}"] = tuple(accepted)
    return slots
