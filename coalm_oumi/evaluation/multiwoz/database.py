"""MultiWOZ's databases in SQLite: built once from the JSON files, queried with bound parameters."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.evaluation.multiwoz.values import (
    VENUES,
    canonical,
    clean,
    clean_name,
    clean_time,
    is_given,
)
from coalm_oumi.files.jsontext import read_json_list

Row = Mapping[str, str]
"""One record, every value as text, under the JSON file's own names."""

_SIMILAR = 90
"""Names at least this similar are taken for a typo (Tomiinek's threshold)."""

_NAME_CUE = (
    r"(?:(?:\b(?:called|named|name is|recommend|suggest|try|book|booked|at)|^|[,:*\u2022-]|\d[.)])"
    r"\s*{name}(?=\s*(?:[,.;:!?(*-]|and\b|or\b|$))|\b{name} restaurant\b)"
)
_WORDS = {
    key: re.compile(written + "|(?i:" + _NAME_CUE.format(name=name) + ")", re.MULTILINE)
    for key, name, written in (
        ("ask", "ask", r"(?<=[a-z0-9,:*-] )Ask\b"),
        ("j", "j", r"\bJ Restaurant\b"),
        ("place", "the place", r"\bThe Place\b"),
    )
}
"""Names that are also common words: their spelling or context if they are names."""

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "restaurant": ("name", "area", "pricerange", "food", "phone", "postcode", "address"),
    "hotel": ("name", "type", "area", "internet", "parking", "pricerange", "stars", "phone",
              "address", "postcode"),
    "attraction": ("name", "type", "area", "phone", "address", "postcode", "entrance fee"),
    "train": ("trainID", "departure", "destination", "day", "leaveAt", "arriveBy", "price",
              "duration"),
    "hospital": ("department", "phone"),
    "police": ("name", "address", "phone"),
}  # fmt: skip

SEARCHABLE: Mapping[str, tuple[str, ...]] = {
    "restaurant": ("area", "pricerange", "food", "name"),
    "hotel": ("area", "pricerange", "type", "parking", "internet", "stars", "name"),
    "attraction": ("area", "type", "name"),
    "train": ("departure", "destination", "day", "leaveAt", "arriveBy", "trainID"),
    "hospital": ("department",),
    "police": (),
}
"""The slots by which each domain can be searched."""

_COMPARED = {"leaveAt": ">=", "arriveBy": "<="}
"""Comparisons of slots with constraints, if not for equality."""


def _create(domain: str) -> str:
    """Writes a domain's table. `key` is the name in the form in which names are compared."""
    columns = [f'"{column}"' for column in (*_COLUMNS[domain], "key")]
    typed = [f"{column} COLLATE NOCASE" if "trainID" in column else column for column in columns]
    return f"CREATE TABLE {domain} (id INTEGER PRIMARY KEY, {', '.join(typed)})"


def _insert(domain: str) -> str:
    marks = ", ?" * (len(_COLUMNS[domain]) + 1)
    # Domains and columns are this module's constants; only values come from outside.
    return f"INSERT INTO {domain} VALUES (NULL{marks})"  # noqa: S608


def _select(domain: str) -> str:
    """Writes a domain's query. Constraints are bound; one that is NULL holds for every record."""
    slots = [slot for slot in SEARCHABLE[domain] if slot != "name"]
    conditions = [
        f"(:{slot} IS NULL OR {slot} {_COMPARED.get(slot, '=')} :{slot})"
        for slot in (*slots, "key")
    ]
    order = "leaveAt, id" if domain == "train" else "id"
    where = " AND ".join(conditions)
    return f"SELECT * FROM {domain} WHERE {where} ORDER BY {order}"  # noqa: S608


_QUERY = {domain: _select(domain) for domain in _COLUMNS}
_INDEXES = (
    "CREATE INDEX route ON train (departure, destination, day)",
    "CREATE INDEX number ON train (trainID)",
)


class Database:
    """The seven domains' records, read-only. Shared by all dialogues of a run.

    Attributes:
        taxi: The colours and makes that taxis have.
    """

    def __init__(self, folder: Path) -> None:
        """Builds the tables from `<domain>_db.json` files.

        Raises:
            CoalmError: A file is missing or is not MultiWOZ's.
        """
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for domain, columns in _COLUMNS.items():
            self._connection.execute(_create(domain))
            file = folder / f"{domain}_db.json"
            records = read_json_list(file, of="records")
            rows = [_row(record, domain, columns, file, i) for i, record in enumerate(records)]
            self._connection.executemany(_insert(domain), rows)
        for index in _INDEXES:
            self._connection.execute(index)
        self._connection.execute("PRAGMA query_only = ON")
        self._rows = {domain: self.search(domain, {}) for domain in _COLUMNS}
        self._keys = {
            domain: list(dict.fromkeys(clean_name(row["name"]) for row in self.rows(domain)))
            for domain in VENUES
        }
        file = folder / "taxi_db.json"
        try:
            (taxis,) = read_json_list(file, of="taxis")
            self.taxi = taxis["taxi_colors"], taxis["taxi_types"]
        except (KeyError, TypeError, ValueError) as error:
            raise CoalmError(
                f"{file}: expected one record with taxi_colors and taxi_types"
            ) from error

    def search(self, domain: str, constraints: Mapping[str, object]) -> list[Row]:
        """Finds the records that satisfy all constraints.

        Trains leave at or after `leaveAt` and arrive at or before `arriveBy`. A name is found in
        spite of a typo. A constraint without a value, or `dontcare`, holds for all.

        Args:
            domain: A domain other than taxi.
            constraints: Values by slot, of `SEARCHABLE[domain]`.
        """
        values: dict[str, Any] = dict.fromkeys(SEARCHABLE[domain])
        values["key"] = None
        for slot, value in constraints.items():
            if is_given(str(value)):
                values[slot] = _searched(domain, slot, value)
        if (name := values.pop("name", None)) is not None:
            values["key"] = self._similar(domain, name)
        found = self._connection.execute(_QUERY[domain], values)
        return [{column: row[column] for column in _COLUMNS[domain]} for row in found]

    def rows(self, domain: str) -> Sequence[Row]:
        """Returns all records of a domain other than taxi."""
        return self._rows[domain]

    def venue(self, domain: str, name: str) -> Row | None:
        """Finds the place of that name, or one that differs by a typo."""
        return next(iter(self.search(domain, {"name": name})), None) if is_given(name) else None

    def trains(self, train_id: str) -> list[Row]:
        """Finds the trains of that number. MultiWOZ gives some numbers to several trains."""
        return self.search("train", {"trainID": train_id}) if is_given(train_id) else []

    def named_in(self, domain: str, text: str) -> list[str]:
        """Returns the names of the domain's places that a text mentions, in order of mention."""
        words = f" {clean_name(text)} "
        places = [(words.rfind(f" {key} "), key) for key in self._keys[domain]]
        found = sorted((at, key) for at, key in places if at >= 0)
        longer = " ".join(f" {key} " for _, key in found)
        named: list[str] = []
        for _, key in found:
            # `belfry` is not a mention within `cambridge belfry`.
            is_whole = longer.count(f" {key} ") == 1
            if is_whole and (key not in _WORDS or _WORDS[key].search(text)):
                named.append(key)
        return named

    def _similar(self, domain: str, name: str) -> str:
        key = clean_name(name)
        keys = self._keys[domain]
        if key in keys:
            return key
        best = process.extractOne(key, keys, scorer=fuzz.ratio, score_cutoff=_SIMILAR)
        return best[0] if best else key


def _searched(domain: str, slot: str, value: object) -> str:
    if slot in ("leaveAt", "arriveBy"):
        return clean_time(str(value))
    if domain == "train" or slot == "name":
        return clean(value)
    return canonical(slot, value)


def _row(
    record: Json, domain: str, columns: Sequence[str], file: Path, index: int
) -> tuple[str, ...]:
    if not is_object(record) or columns[0] not in record:
        raise CoalmError(f"{file}[{index}]: not a record of MultiWOZ's {domain} database")
    values = {column: str(record.get(column, "?")) for column in columns}
    if "type" in values:
        values["type"] = canonical("type", values["type"])
    return *values.values(), clean_name(values[columns[0]])
