"""The models of a run beside the agent: who they are in a recipe, and what they cost."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from pydantic import NonNegativeFloat

from coalm_oumi.core.usage import Usage
from coalm_oumi.llm.chat import Endpoint


class PaidModel(Endpoint):
    """A model of a recipe, and what may be spent on it.

    Attributes:
        max_usd: Stop before more than this is spent, earlier runs included; None for no limit.
    """

    max_usd: NonNegativeFloat | None = None


def used(usages: Iterable[Mapping[str, int]]) -> Usage:
    """Adds up the tokens of records."""
    return sum((Usage(**usage) for usage in usages), Usage())


Account = dict[str, float | None]
"""The fields of `Usage` and their price as `usd`, None if it is not known."""


def account(usage: Usage, server: Endpoint) -> Account:
    """Writes tokens and their price for the result."""
    return {**asdict(usage), "usd": server.usd(usage)}
