"""The models of a run beside the agent: who they are in a recipe, and what they cost."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.llm.chat import Endpoint


def endpoint(options: Mapping[str, Any], place: str) -> tuple[Endpoint, float | None]:
    """Reads a model, and what may be spent on it, from a recipe.

    Args:
        options: The fields of `Endpoint`, and `max_usd`.
        place: `user` or `judge`, for the error.

    Raises:
        CoalmError: The mapping says something else.
    """
    rest = dict(options)
    max_usd = rest.pop("max_usd", None)
    try:
        return Endpoint(**rest), max_usd
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Endpoint))
        raise CoalmError(
            f"eval_kwargs.data.{place}: expected model and some of {known}, max_usd; {error}"
        ) from error


def used(usages: Iterable[Mapping[str, int]]) -> Usage:
    """Adds up the tokens of records."""
    return sum((Usage(**usage) for usage in usages), Usage())


Account = dict[str, float | None]
"""The fields of `Usage` and their price as `usd`, None if it is not known."""


def account(usage: Usage, server: Endpoint) -> Account:
    """Writes tokens and their price for the result."""
    return {**asdict(usage), "usd": server.usd(usage)}
