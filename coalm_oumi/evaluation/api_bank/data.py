"""API-Bank in Hammer's form: `{query: [{role, content}], tools, answers}` records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import checked
from coalm_oumi.evaluation.styles import ChatRecord, FunctionRecord
from coalm_oumi.files.atomic import cache_dir
from coalm_oumi.files.download import fetch
from coalm_oumi.files.jsontext import read_json_list
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall

SOURCE = (
    "https://raw.githubusercontent.com/MadeAgents/Hammer/"
    "ff415d9998180b5a68bbfdda3309ec04b472fb49/data/test/original"
)
SHA256: Mapping[str, str] = {
    "apibank_l1.json": "b6c129cd887da3e1965479bdbe56170adc0d315567c6a716a7c493de26887f19",
    "apibank_l2.json": "7476f8a5a514c64498de6ae0f457b0b342ba3571d08a556447dafad8d0be6544",
}
"""The files of Hammer's evaluation for both levels, with their hashes."""


@dataclass(frozen=True, slots=True)
class ApiBankEntry:
    """One question of API-Bank.

    Attributes:
        id: Names the level and the place in its file.
        messages: The conversation. The roles are `user`, `agent`,
            `assistant` (an API request) and `tool` (its result). The last one asks for the call.
        tools: The functions, with their parameters as Hammer describes them.
        expected: The right calls.
    """

    id: str
    messages: Sequence[ChatRecord]
    tools: Sequence[FunctionRecord]
    expected: Sequence[FunctionCall]


def locate(path: str) -> Path:
    """Returns a file of questions, downloaded from Hammer's repository if necessary.

    Args:
        path: A file, or `apibank_l1.json` or `apibank_l2.json` for the file of that repository.

    Raises:
        CoalmError: There is no such file, and it cannot be downloaded.
    """
    file = Path(path)
    if file.exists() or path not in SHA256:
        return file
    kept = cache_dir() / "api_bank" / path
    return fetch(f"{SOURCE}/{path}", kept, sha256=SHA256[path])


def read(file: Path) -> list[ApiBankEntry]:
    """Reads API-Bank's questions.

    Args:
        file: `apibank_l1.json` or `apibank_l2.json`.

    Raises:
        CoalmError: No such file, or a record is not of that form.
    """
    records = read_json_list(file, of="records")
    if not records:
        raise CoalmError(f"{file}: the list of records is empty")
    return [_entry(record, file, index) for index, record in enumerate(records)]


class ToolRecord(TypedDict):
    """A function, with the description of each parameter by name."""

    name: str
    description: NotRequired[str]
    parameters: dict[str, dict[str, Json]]


class ExpectedCallRecord(TypedDict):
    """A right call."""

    name: str
    arguments: dict[str, Json]


class ApiBankQuestion(TypedDict):
    """A question in Hammer's form."""

    query: Annotated[list[ChatRecord], Field(min_length=1)]
    tools: list[ToolRecord]
    answers: list[ExpectedCallRecord]


_QUESTION = TypeAdapter(ApiBankQuestion)


def _entry(record: Json, file: Path, index: int) -> ApiBankEntry:
    where = f"{file}[{index}]: not a record of API-Bank in Hammer's form"
    found = checked(_QUESTION, record, where=where)
    try:
        expected = [calls.from_record(answer) for answer in found["answers"]]
    except CoalmError as error:
        raise CoalmError(f"{where}: {error}") from error
    return ApiBankEntry(
        id=f"api_bank/{file.stem}/{index}",
        messages=[{"role": m["role"], "content": m["content"]} for m in found["query"]],
        tools=found["tools"],
        expected=expected,
    )
