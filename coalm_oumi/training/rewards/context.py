"""Reads from a sample's prompt what an answer may use: the functions, and what was said."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_object, loads
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra.evidence import Evidence
from coalm_oumi.data.sources import RecordError
from coalm_oumi.data.sources.tools import Tool, read_tools
from coalm_oumi.formats.calls import CallError, parse_literal

_TOOLS = re.compile(r"\[BEGIN OF AVAILABLE TOOLS\]\n(.*)\n\[END OF AVAILABLE TOOLS\]", re.DOTALL)
_HISTORY = re.compile(
    r"\[BEGIN OF CONVERSATION HISTORY\]\n(.*)\n\[END OF CONVERSATION HISTORY\]", re.DOTALL
)
_SIGNATURE = re.compile(r"^\d+\. (.+?)\((.*)\)$", re.MULTILINE)
_ARGUMENT = re.compile(
    r"\s*([^,=]+?)\s*(?:=\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,]*))?\s*(?:,|$)"
)
_OWN_STEP = re.compile(r"^(?:Thought:|Action:|System: \[\{).*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a prompt that an answer may use.

    Attributes:
        functions: The functions that the prompt lists, by name; two may share a name. None if
            it lists no readable functions.
        evidence: What the user, the tools and the system's replies have said so far. The agent's
            thoughts and calls are not evidence.
    """

    functions: Mapping[str, Sequence[Function]] | None
    evidence: Evidence


@lru_cache(maxsize=256)  # the answers to one prompt are judged together
def context(sample: Sample) -> Context:
    """Reads a sample's prompt."""
    tools = _TOOLS.search(sample.instruction)
    history = _HISTORY.search(sample.instruction)
    said = "\n".join([history.group(1) if history else "", sample.input])
    return Context(
        functions=_functions(tools.group(1)) if tools else None,
        evidence=Evidence.of(_OWN_STEP.sub("", said)),
    )


def _functions(text: str) -> Mapping[str, Sequence[Function]] | None:
    """Reads the JSON list of Figure 5, or the numbered signatures of Figure 6."""
    try:
        tools = loads(text)
    except ValueError:
        found = [_from_signature(*match) for match in _SIGNATURE.findall(text)]
    else:
        try:
            found = [_from_tool(tool) for tool in read_tools(tools)]
        except RecordError:
            return None
    by_name: dict[str, list[Function]] = {}
    for function in found:
        by_name.setdefault(function.name, []).append(function)
    return by_name or None


def _from_signature(name: str, arguments: str) -> Function:
    required: list[str] = []
    optional: dict[str, Json] = {}
    for argument, default in _ARGUMENT.findall(arguments):
        if default:
            optional[argument] = _literal(default)
        else:
            required.append(argument)
    return Function(name, "", tuple(required), optional)


def _literal(text: str) -> Json:
    try:
        return parse_literal(text)
    except CallError:
        return text


def _from_tool(tool: Tool) -> Function:
    return Function(
        name=tool.name,
        description="",
        required=tuple(name for name in tool.parameters if name in tool.required),
        optional={
            name: about.get("default") if is_object(about) else None
            for name, about in tool.parameters.items()
            if name not in tool.required
        },
    )
