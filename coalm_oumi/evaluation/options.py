"""The options of a task in `eval_kwargs.data`.

Oumi requires every parameter of an evaluation function, so optional settings are fields of a single
mapping.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from coalm_oumi.core.options import Options


class TaskOptions(Options):
    """Fields that `eval_kwargs.data` gives.

    Attributes:
        other_base: Allow an adapter on another base model than the one that it was trained on, such
            as the same weights under another name.
    """

    other_base: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Reads the recipe's mapping.

        Raises:
            CoalmError: An option is unknown or of the wrong type, or a required one is missing.
        """
        return cls.read(options, where="eval_kwargs.data")


_Function = TypeVar("_Function", bound=Callable[..., Any])

_OPTIONS = "coalm_options"
_EXAMINE = "coalm_examine"


def takes(
    options: type[TaskOptions], examine: Callable[[Any], str] | None = None
) -> Callable[[_Function], _Function]:
    """Marks an evaluation function with the options of `eval_kwargs.data`, for `coalm check`.

    Args:
        options: The class of options.
        examine: Reads the data that the options name, without a model, and returns one line about
            it. It raises a `CoalmError` if the task would.
    """

    def note(function: _Function) -> _Function:
        setattr(function, _OPTIONS, options)
        setattr(function, _EXAMINE, examine)
        return function

    return note


def check(function: Callable[..., Any], values: Mapping[str, Any]) -> str | None:
    """Checks the options of an evaluation function before a model is loaded.

    Args:
        function: The function, as it is registered.
        values: The recipe's `eval_kwargs.data`.

    Returns:
        One line about the task's questions; None if the function has no such mark.

    Raises:
        CoalmError: An option is wrong, or the data cannot be read.
    """
    options: type[TaskOptions] | None = getattr(function, _OPTIONS, None)
    if options is None:
        return None
    read = options.from_options(values)
    examine: Callable[[Any], str] | None = getattr(function, _EXAMINE)
    return examine(read) if examine else None
