"""Function masking as Hammer trains with it (Lin et al., 2024): names say nothing, descriptions do.

Function and parameter names become random strings in the tools and the answers alike. A default
that the answer repeats becomes another value of its type in tools, answers and query, so that the
model reads defaults instead of remembering them. Two things differ from Hammer's published script
on purpose. A boolean default stays: the script turns True into a number such as 1.92. And a default
stays where changing it could make the query contradict the answer: where another argument holds the
value, where the query spells the number out, or where the value is a part of something longer, as
the 1 of 10 is (the script makes 50 of it when 1 becomes 5).
"""

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.data.cra.evidence import SPELLED
from coalm_oumi.formats.calls import FunctionCall

_ALPHABET = string.ascii_letters + string.digits + "_."
_FUNCTION_LENGTHS = (5, 15)
_PARAMETER_LENGTHS = (4, 10)
_TEXT_DEFAULT_LENGTH = 5


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A request, the tools that are offered for it, and the calls that answer it.

    Attributes:
        query: The user's request.
        tools: Tools of distinct names, parameters as `{name: {description, type, default}}`.
        answers: Calls of these tools.
    """

    query: str
    tools: Sequence[Mapping[str, Json]]
    answers: Sequence[FunctionCall]


def mask(record: CallRecord, random_: random.Random) -> CallRecord:
    """Masks one record, and shuffles its tools.

    Args:
        record: The record.
        random_: The source of chance.
    """
    query, tools, answers = record.query, record.tools, record.answers
    taken = {str(tool["name"]) for tool in tools}
    functions = {str(tool["name"]): _name(random_, _FUNCTION_LENGTHS, taken) for tool in tools}
    parameters: dict[tuple[str, str], str] = {}
    defaults: dict[tuple[str, str], tuple[Json, Json]] = {}
    masked_tools: list[Mapping[str, Json]] = []
    used = _values(query, tools, answers)
    for tool in tools:
        name = str(tool["name"])
        described: dict[str, Json] = {}
        names_taken = set(tool.get("parameters", {}))
        for parameter, description in tool.get("parameters", {}).items():
            masked = _name(random_, _PARAMETER_LENGTHS, names_taken)
            parameters[name, parameter] = masked
            if _is_maskable(name, parameter, description, query, answers):
                old = description["default"]
                new = _other_value(old, random_, used)
                defaults[name, parameter] = (old, new)
                text = _replaced(str(description.get("description", "")), {str(old): str(new)})
                description = {**description, "default": new, "description": text}
            described[masked] = description
        masked_tools.append({**tool, "name": functions[name], "parameters": described})
    random_.shuffle(masked_tools)
    masked_answers: list[FunctionCall] = []
    for call in answers:
        arguments: dict[str, Json] = {}
        for name, value in call.arguments.items():
            old, new = defaults.get((call.name, name), (value, value))
            arguments[parameters[call.name, name]] = new if _same(value, old) else value
        masked_answers.append(FunctionCall(functions[call.name], arguments))
    masked_query = _replaced(query, {str(old): str(new) for old, new in defaults.values()})
    return CallRecord(masked_query, masked_tools, masked_answers)


def _name(random_: random.Random, lengths: tuple[int, int], taken: set[str]) -> str:
    """Draws a name that is none of those taken, and takes it."""
    while True:
        name = "".join(random_.choices(_ALPHABET, k=random_.randint(*lengths)))
        if name not in taken:
            taken.add(name)
            return name


def _is_maskable(
    function: str, parameter: str, description: Json, query: str, answers: Sequence[FunctionCall]
) -> bool:
    """Returns True if a default can change in tools, answers and query without a contradiction.

    An answer must repeat it, no other argument may hold it, not even as a part of its text, and
    the query must state it nowhere or as whole words, so that all of it can be replaced.
    """
    default = description.get("default") if is_object(description) else None
    if isinstance(default, bool) or not isinstance(default, int | float | str) or default == "":
        return False
    loose = re.compile(rf"(?<!\w){re.escape(str(default))}(?!\w)", re.IGNORECASE)
    is_repeated = False
    for call in answers:
        for name, value in call.arguments.items():
            if (call.name, name) == (function, parameter):
                is_repeated = is_repeated or _same(value, default)
            elif loose.search(str(value)):
                return False
    if not is_repeated:
        return False
    spelled = SPELLED[default] if isinstance(default, int) and 0 <= default <= 20 else None
    if spelled and re.search(rf"\b{spelled}\b", query, re.IGNORECASE):
        return False
    return len(loose.findall(query)) == len(_pattern([str(default)]).findall(query))


def _values(
    query: str, tools: Sequence[Mapping[str, Json]], answers: Sequence[FunctionCall]
) -> set[str]:
    """Collects what a new default must not be: every value and word of the record, as text."""
    described = [d for tool in tools for d in tool.get("parameters", {}).values()]
    values = [d.get("default") for d in described if is_object(d)]
    values += [value for call in answers for value in call.arguments.values()]
    return {str(value).lower() for value in values} | set(re.findall(r"[\w.]+", query.lower()))


def _same(left: Json, right: Json) -> bool:
    return type(left) is type(right) and left == right


def _other_value(
    value: int | float | str, random_: random.Random, used: set[str]
) -> int | float | str:
    """Draws another value of the same type that the record does not have, and takes it."""
    reach = 4
    while True:
        if isinstance(value, int):
            new = value + random_.randint(1, reach)
        elif isinstance(value, float):
            new = round(value + random_.uniform(0.01, reach / 4), 4)
        else:
            new = "".join(random_.choices(_ALPHABET, k=_TEXT_DEFAULT_LENGTH))
        if str(new).lower() not in used:
            used.add(str(new).lower())
            return new
        reach += 1


def _replaced(text: str, values: Mapping[str, str]) -> str:
    """Replaces values where they stand as whole words, all in one pass."""
    if not values:
        return text
    known = {old.lower(): new for old, new in values.items()}
    return _pattern(list(values)).sub(lambda match: known[match.group().lower()], text)


def _pattern(values: Sequence[str]) -> re.Pattern[str]:
    """Matches whole words only: not the 3 of 3.5, 13, 3:30, 3,000 or 2024-03-3."""
    alternatives = "|".join(re.escape(v) for v in sorted(values, key=len, reverse=True))
    before, after = r"(?<!\w)(?<!\d[.,:/-])", r"(?!\w)(?![.,:/-]\d)"
    return re.compile(f"{before}(?:{alternatives}){after}", re.IGNORECASE)
