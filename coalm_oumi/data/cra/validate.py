"""Finds faults of a CRA dialogue automatically (paper, Appendix D).

Three of the appendix's four dimensions are checked against the schema and the dialogue. The fourth,
reasoning, is left to `coalm_oumi.data.cra.judge` and `coalm_oumi.data.cra.review`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.data.cra import transcript
from coalm_oumi.data.cra.evidence import Evidence
from coalm_oumi.data.cra.sgd import Catalogue
from coalm_oumi.data.cra.transcript import Field, TranscriptError
from coalm_oumi.formats.calls import FunctionCall

Dimension = Literal["format", "undefined_function", "argument_type", "hallucination", "reasoning"]
"""The format, and the four dimensions of Appendix D."""

DIMENSIONS: Mapping[Dimension, str] = {
    "format": "Format break",
    "undefined_function": "Undefined function call",
    "argument_type": "Incorrect argument type",
    "hallucination": "Argument hallucination",
    "reasoning": "Low-quality reasoning and planning",
}
"""The label of each."""

Kind = Literal[
    "format",
    "undefined_function",
    "undefined_argument",
    "missing_argument",
    "argument_type",
    "argument_value",
    "hallucination",
]

DIMENSION_OF: Mapping[Kind, Dimension] = {
    "format": "format",
    "undefined_function": "undefined_function",
    "undefined_argument": "undefined_function",
    "missing_argument": "undefined_function",
    "argument_type": "argument_type",
    "argument_value": "argument_type",
    "hallucination": "hallucination",
}


@dataclass(frozen=True, slots=True)
class CraFinding:
    """One fault.

    Attributes:
        kind: The kind of fault.
        message: A description of the fault.
        turn: The turn's number, from 1; None if the fault belongs to no turn.
        start: The first character of the fault in the transcript.
        end: The character after its last.
    """

    kind: Kind
    message: str
    turn: int | None
    start: int
    end: int

    @property
    def dimension(self) -> Dimension:
        """Its dimension of Appendix D."""
        return DIMENSION_OF[self.kind]


def validate(text: str, catalogue: Catalogue) -> list[CraFinding]:
    """Checks one transcript.

    Args:
        text: The dialogue, in the format of Table 6.
        catalogue: The functions that it may call.

    Returns:
        Every fault, in the order of the text. If the text cannot be read, only that.
    """
    try:
        turns, blocks = transcript.parse(text), transcript.parse_fields(text)
    except TranscriptError as error:
        return [CraFinding("format", str(error), error.turn, error.start, error.end)]
    findings: list[CraFinding] = []
    known = Evidence()
    for number, (turn, block) in enumerate(zip(turns, blocks, strict=True), start=1):
        known |= Evidence.of(turn.user)
        if turn.api is not None:
            fields = {field.name: field for field in block}
            name, arguments = fields["API Name"], fields["API Input"]
            findings += _call_faults(turn.api.call, number, name, arguments, catalogue, known)
            known |= Evidence.of(turn.api.observation)
        known |= Evidence.of(turn.system)
    return findings


def _call_faults(
    call: FunctionCall,
    number: int,
    name: Field,
    arguments: Field,
    catalogue: Catalogue,
    known: Evidence,
) -> list[CraFinding]:
    if call.name not in catalogue:
        message = f"`{call.name}` is not a function"
        return [CraFinding("undefined_function", message, number, name.start, name.end)]
    # Services share names: the call is compared with the variant that it fits best.
    found = [
        _variant_faults(call, number, arguments, function, values, known)
        for function, values in catalogue[call.name]
    ]
    return min(found, key=_misfit)


def _misfit(faults: Sequence[CraFinding]) -> tuple[int, int]:
    """Orders variants: first by what is wrong with names and types, then by all faults."""
    return sum(fault.kind != "hallucination" for fault in faults), len(faults)


def _variant_faults(
    call: FunctionCall,
    number: int,
    arguments: Field,
    function: Function,
    values: Mapping[str, Sequence[str]],
    known: Evidence,
) -> list[CraFinding]:
    faults: list[CraFinding] = []
    for required in function.required:
        if required not in call.arguments:
            message, place = f"`{call.name}` needs `{required}`", (arguments.start, arguments.end)
            faults.append(CraFinding("missing_argument", message, number, *place))
    for argument, value in call.arguments.items():
        found = _value_fault(function, argument, value, values, known)
        if found is not None:
            kind, message = found
            place = _span(arguments, argument, value)
            faults.append(CraFinding(kind, message, number, *place))
    return sorted(faults, key=lambda fault: fault.start)


def _value_fault(
    function: Function,
    argument: str,
    value: Json,
    values: Mapping[str, Sequence[str]],
    known: Evidence,
) -> tuple[Kind, str] | None:
    """Returns the first fault of an argument: later checks assume that earlier ones passed."""
    if argument not in function.required and argument not in function.optional:
        return "undefined_argument", f"`{function.name}` has no argument `{argument}`"
    default = function.optional.get(argument)
    if default is not None and str(value).casefold() == str(default).casefold():
        return None  # a value that the schema gives needs no other support
    if value is None or is_list(value) or is_object(value):
        return "argument_type", f"`{argument}` is {type(value).__name__}, expected one value"
    possible = [str(one).casefold() for one in values.get(argument, ())]
    text = str(value).casefold().strip()
    is_flag = bool(possible) and set(possible) <= {"true", "false"}
    if isinstance(value, bool) and not is_flag:
        return "argument_type", f"`{argument}` is {value}, which is not one of its values"
    if is_flag and text not in possible:
        return "argument_type", f"`{argument}` is {value!r}, expected True or False"
    if possible and text not in possible:
        if all(one.isdecimal() for one in possible) and not text.isdecimal():
            return "argument_type", f"`{argument}` is {value!r}, expected a whole number"
        return "argument_value", f"`{argument}` is {value!r}, not one of {', '.join(possible)}"
    supported = known.supports_flag(argument) if is_flag else known.supports(value)
    if not supported:
        return "hallucination", f"nothing said or observed so far gives `{argument}` {value!r}"
    return None


def _span(field: Field, argument: str, value: Json) -> tuple[int, int]:
    """Finds the place of an argument's value; the whole field if it is written differently."""
    named = re.search(rf"(?<![\w]){re.escape(argument)}(?![\w])", field.text)
    if named is None:
        return field.start, field.end
    at = field.text.find(str(value), named.end())
    if at < 0:
        return field.start + named.start(), field.start + named.end()
    return field.start + at, field.start + at + len(str(value))
