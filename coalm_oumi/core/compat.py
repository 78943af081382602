"""The one module that adapts this package to how Oumi behaves, where Oumi offers no hook.

Each function names the behaviour it works around. Oumi is imported inside the functions, since
Oumi loads this package in the middle of its own imports.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from coalm_oumi.core.errors import CoalmError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def reported_by_oumi(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Has the `oumi` commands print a `CoalmError` as one line.

    Oumi prints its own `OumiConfigError` that way, and every other exception with a traceback. The
    decorator belongs on what Oumi calls: dataset classes, evaluation functions, rewards.
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except CoalmError as error:
            raise _reported(error) from error

    return wrapper


def _reported(error: CoalmError) -> CoalmError:
    if isinstance(error, _reported_class()):
        return error
    return _reported_class()(str(error))


@functools.cache
def _reported_class() -> type[CoalmError]:
    from oumi.exceptions import OumiConfigError

    class ReportedError(CoalmError, OumiConfigError):
        """A `CoalmError` that is also one of Oumi's configuration errors."""

    return ReportedError
