"""Recognises the sources of samples with only the columns instruction, input and output.

The mixture that the paper's authors published has only these. The instructions of each source have
a mark, which Figures 4 to 7 show.
"""
# pyright: standard

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets
from oumi.utils.logging import logger

from coalm_oumi.core.digest import digest_of_text
from coalm_oumi.core.sample import Domain

ORIGIN_COLUMNS = ("source", "domain", "dialogue_id")
"""The columns that give a sample's origin."""

UNKNOWN = "unknown"
"""The source and domain of a row that carries no mark."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """The marks of a source, in the text of its instruction and of its input."""

    source: str
    domain: Domain
    instruction: str
    input: str = ""


_MARKS = (
    _Mark("snips", "tod", "assigned to find the intents shown by the user"),  # Figure 4
    _Mark("hammer", "la", "You are a tool calling assistant", "[BEGIN OF QUERY]"),  # Figure 5
    _Mark("toolace", "la", "You are a tool calling assistant"),
    _Mark("toolace", "la", "You are an expert in composing functions"),  # ToolACE's own words
    _Mark("sgd", "cra", "helpful conversational assistant who can perform API function"),  # 6
    _Mark("sgd", "cra", "helpful conversational assistant specializing in understanding"),  # 7
)

_HISTORY = "[BEGIN OF CONVERSATION HISTORY]"
_USER_TURN = re.compile(r"^[ \t]*User:[ \t]*(.*\S)", re.MULTILINE)


def with_origin(table: datasets.Dataset, place: str) -> datasets.Dataset:
    """Adds the columns `source`, `domain` and `dialogue_id` to a table that has none of them.

    Rows without a mark get the source and domain `unknown`. They are counted and named in the log.

    Args:
        table: The samples.
        place: Names the table in a message.

    Returns:
        The table with the columns. It is unchanged if it has one of them already, or if no row
        carries a mark.
    """
    if any(name in table.column_names for name in ORIGIN_COLUMNS):
        return table
    marked = table.map(_describe, batched=True, desc="Recognising sources")
    sources: Sequence[str] = marked["source"]
    unknown = [row for row, source in enumerate(sources) if source == UNKNOWN]
    if len(unknown) == len(marked):
        return table
    if unknown:
        first = ", ".join(map(str, unknown[:5]))
        logger.warning(
            f"{place}: {len(unknown)} of {len(marked)} records carry no mark of a source "
            f"(Figures 4 to 7), the first {first}; their source is `{UNKNOWN}`, so that no "
            "choice of domains or sources keeps them"
        )
    return marked


def origin(instruction: str, text: str) -> tuple[str, str]:
    """Returns the source and the domain of a sample, or `unknown` for both.

    Args:
        instruction: The sample's instruction.
        text: The sample's input.
    """
    for mark in _MARKS:
        if mark.instruction in instruction and mark.input in text:
            return mark.source, mark.domain
    return UNKNOWN, UNKNOWN


def first_user_turn(instruction: str, text: str) -> str:
    """Returns the first user turn of a sample's conversation.

    All samples that were cut from one conversation share it, whatever their history. If no line
    names a speaker, it is the whole input.
    """
    _, _, history = instruction.partition(_HISTORY)
    found = _USER_TURN.search(f"{history}\n{text}")
    return found[1] if found else text.strip()


def _describe(batch: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    columns: dict[str, list[str]] = {name: [] for name in ORIGIN_COLUMNS}
    for instruction, text in zip(batch["instruction"], batch["input"], strict=True):
        source, domain = origin(instruction, text or "")
        turn = " ".join(first_user_turn(instruction, text or "").split())
        columns["source"].append(source)
        columns["domain"].append(domain)
        columns["dialogue_id"].append(f"{source}/{digest_of_text(turn)}")
    return columns
