"""`Sample`: the one record of the CoALM-IT mixture, in Alpaca columns (paper, section 4.2)."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast, get_args

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json

Domain = Literal["tod", "la", "cra"]
"""Task-oriented dialogue, language agent, conversational ReAct API (paper, Table 1)."""

TEXT_COLUMNS = ("instruction", "input", "output")
"""The columns that every sample has, in this order. The other columns give its origin."""

DOMAINS: tuple[Domain, ...] = get_args(Domain)


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample: what the model reads, and the target it learns to write.

    Attributes:
        instruction: Task, tools, output format and, if there is one, the history.
        input: The user's turn. In CRA samples the agent's steps since then follow it.
        output: The target. Only the target carries loss (the purple text of Figure 2).
        source: The name of the source, such as `snips`.
        domain: Which of the three skills it trains.
        dialogue_id: Names the dialogue that the sample was cut from. Splits keep it whole.
    """

    instruction: str
    input: str
    output: str
    source: str
    domain: Domain
    dialogue_id: str

    def as_dict(self) -> dict[str, str]:
        """Returns the record's columns."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, where: str) -> "Sample":
        """Reads a record of a prepared mixture.

        Args:
            record: The columns. Columns that a sample does not have are ignored.
            where: Names the file and record in an error.

        Raises:
            CoalmError: A column is missing or is not text, the target is empty, or the domain is
                unknown.
        """
        columns = columns_of(record, where=where)
        for field in fields(cls):
            if field.name not in columns:
                raise CoalmError(f"{where}: column `{field.name}` is missing")
        return cls(**columns)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample that a source leaves out on purpose. The manifest counts these by reason.

    Attributes:
        reason: The reason, worded the same for every sample that it applies to.
    """

    reason: str


COLUMNS = tuple(field.name for field in fields(Sample))
"""All columns of a sample."""


def columns_of(record: Any, *, where: str = "") -> dict[str, str]:
    """Reads the columns of a sample that a record has.

    Args:
        record: The columns. Instruction and output must be there, and `input` may be null or
            absent. Columns that a sample does not have are ignored.
        where: Names the file and record in an error. Leave it out if the caller names them.

    Raises:
        CoalmError: A text column is missing, a column is not text, the target is empty, or the
            domain is unknown.
    """
    where = f"{where}: " if where else ""
    if not isinstance(record, Mapping):
        raise CoalmError(f"{where}expected an object with the columns {', '.join(COLUMNS)}")
    columns_given = cast(Mapping[str, Json], record)
    columns: dict[str, str] = {}
    for name in COLUMNS:
        value: Json = columns_given.get(name)
        if value is None and name == "input":
            value = ""  # Alpaca's own data has samples without an input
        if value is None and name not in TEXT_COLUMNS:
            continue
        if not isinstance(value, str):
            found = "is missing" if value is None else f"is {type(value).__name__}"
            raise CoalmError(
                f"{where}column `{name}` {found}, expected text; the columns of a CoALM-IT "
                f"record are {', '.join(COLUMNS)}"
            )
        columns[name] = value
    if not columns["output"].strip():
        raise CoalmError(f"{where}`output` is empty, so there is nothing to learn")
    if columns.get("domain", DOMAINS[0]) not in DOMAINS:
        raise CoalmError(
            f"{where}unknown domain `{columns['domain']}`; use one of {', '.join(DOMAINS)}"
        )
    return columns


def first_sayings(sayings: Iterable[tuple[Hashable, str]]) -> list[bool]:
    """Marks texts that an earlier dialogue already has, word for word.

    The copies that one record gives on purpose (Hammer's three) share a dialogue, so they stay.

    Args:
        sayings: Each text, or a digest of it, and its dialogue.

    Returns:
        One mark per text: False for a duplicate.
    """
    first: dict[Hashable, str] = {}
    return [first.setdefault(said, dialogue) == dialogue for said, dialogue in sayings]


def deduplicated(samples: Sequence[Sample]) -> list[Sample]:
    """Drops the samples that an earlier dialogue already has."""
    keep = first_sayings(((s.instruction, s.input, s.output), s.dialogue_id) for s in samples)
    return [sample for sample, kept in zip(samples, keep, strict=True) if kept]
