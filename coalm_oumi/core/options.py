"""Typed options, by which pydantic reads our recipes, YAML files and records."""

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from coalm_oumi.core.errors import CoalmError

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "sequence_str": "a list, not one text",
    "string_type": "text",
    "too_short": "a list that is not empty",
}


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("expected text that is not empty")
    return value


Text = Annotated[str, AfterValidator(_not_blank)]
"""Text that is not blank, such as a name or a path."""


Seed = Annotated[int, Field(ge=0)]
"""A seed. numpy takes none below 0."""

HeldOutShare = Annotated[float, Field(ge=0, lt=1)]
"""The share of dialogues that is held out for validation."""


class Options(BaseModel):
    """Fields that a mapping gives. An unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, values: Any, *, where: str) -> Self:
        """Reads a mapping.

        Args:
            values: The mapping, as YAML or JSON gives it.
            where: Names the file, or the part of a recipe, in an error.

        Raises:
            CoalmError: A key is unknown or missing, or a value has another type. The message
                names each key and what is expected there.
        """
        if not isinstance(values, Mapping):
            raise CoalmError(f"{where}: expected a mapping, found {values!r}")
        try:
            return cls.model_validate({**values})
        except pydantic.ValidationError as error:
            problems = "; ".join(_problem(detail, cls) for detail in error.errors())
            raise CoalmError(f"{where}: {problems}") from error


_T = TypeVar("_T")


def checked(kind: TypeAdapter[_T], record: Any, *, where: str) -> _T:
    """Checks a record of a file against its type.

    Args:
        kind: A type whose values JSON can hold.
        record: The record, as JSON gives it.
        where: Names the file and the record in an error.

    Returns:
        The record itself, with its keys in the file's order, which a prompt may show.

    Raises:
        CoalmError: A key is missing, or a value has another type. The message names the key.
    """
    try:
        kind.validate_python(record, strict=True)
    except pydantic.ValidationError as error:
        raise CoalmError(f"{where}: {first_problem(error)}") from error
    return record


def first_problem(error: pydantic.ValidationError) -> str:
    """Writes the first of pydantic's findings about a record: its key, if any, and the problem."""
    detail, *_ = error.errors()
    key = ".".join(map(str, detail["loc"]))
    return f"{key}: {detail['msg']}" if key else detail["msg"]


def _problem(detail: Any, kind: type[Options]) -> str:
    """Writes one of pydantic's findings as a sentence: the key, and what is expected there."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields)
        if len(detail["loc"]) > 1:
            return f"unknown key `{key}`"
        if not known:
            return f"unknown key `{key}`; there are no keys"
        return f"unknown key `{key}`; the keys are {known}"
    if detail["type"] == "missing":
        return f"expected the key `{key}`"
    if detail["type"] == "value_error":
        return f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
    expected = _EXPECTED.get(detail["type"])
    if detail["type"] == "is_instance_of" and detail["ctx"]["class"] == "Sequence":
        expected = "a list"
    if expected is None:
        message = detail["msg"]
        return f"{key}: {message[0].lower()}{message[1:]}, found {detail['input']!r}"
    hint = ""
    if isinstance(detail["input"], str) and detail["type"] in ("float_type", "int_type"):
        hint = "; remove the quotes"
    return f"{key}: expected {expected}, found {detail['input']!r}{hint}"
