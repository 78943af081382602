"""What recipes say of a task in `eval_kwargs.data`.

Oumi takes every parameter of an evaluation function as required, so the optional ones are fields of
one mapping.
"""

from collections.abc import Mapping
from typing import Any

from typing_extensions import Self

from coalm_oumi.core.options import Options


class TaskOptions(Options):
    """Fields that `eval_kwargs.data` gives."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Reads the recipe's mapping.

        Raises:
            CoalmError: An option is unknown or of the wrong type, or a required one is missing.
        """
        return cls.read(options, where="eval_kwargs.data")
