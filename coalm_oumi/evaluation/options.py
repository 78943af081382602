"""What recipes say of a task in `eval_kwargs.data`.

Oumi takes every parameter of an evaluation function as required, so the optional ones are fields of
one mapping.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from typing_extensions import Self

from coalm_oumi.errors import CoalmError


@dataclass(frozen=True, slots=True)
class Options:
    """Fields that a mapping gives."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Reads the recipe's mapping.

        Raises:
            CoalmError: An option is unknown, or a required one is missing.
        """
        if not isinstance(options, Mapping):
            raise CoalmError(f"eval_kwargs.data: expected a mapping, found {options!r}")
        required = [field.name for field in fields(cls) if field.default is MISSING]
        optional = [field.name for field in fields(cls) if field.name not in required]
        unknown = set(options) - {*required, *optional}
        if unknown or not set(required) <= set(options):
            parts = [", ".join(required), f"some of {', '.join(optional)}"]
            raise CoalmError(
                f"eval_kwargs.data: expected {' and '.join(filter(None, parts))}; "
                f"found {', '.join(sorted(options)) or 'nothing'}"
            )
        return cls(**options)


@dataclass(frozen=True, slots=True)
class ApiBankOptions(Options):
    """How API-Bank is asked.

    Attributes:
        path: A file of questions in Hammer's form; `apibank_l1.json` or `apibank_l2.json`, where
            no such file is here, for that of Hammer's repository.
        style: The prompt style: `coalm` (Figure 5) or `native` (the chat template's tools).
    """

    path: str
    style: str = "coalm"


@dataclass(frozen=True, slots=True)
class BfclOptions(Options):
    """How BFCL is asked.

    Attributes:
        style: The prompt style: `bfcl` (its default prompt mode, which its own table lists CoALM
            under), `coalm` (Figure 5) or `native` (the chat template's tools).
        categories: Categories, or groups such as `all`, `single_turn`, `multi_turn`, `live`,
            `non_live`; in V4 also `all_scoring`, `agentic`, `memory`, `web_search`.
        encoder: The folder of `all-MiniLM-L6-v2`, which V4's vector memory takes from the hub
            where none is given.
    """

    style: str = "bfcl"
    categories: Sequence[str] = ("all",)
    encoder: str | None = None
