"""Function masking as Hammer trains with it (Lin et al., 2024): names say nothing, descriptions do.

Function and parameter names become random strings in the tools and the answers alike. A default
that the answer repeats becomes another value of its type in tools, answers and query, so that the
model reads defaults instead of remembering them. Three things differ from Hammer's published script
on purpose: a boolean default stays (the script turns True into a number such as 1.92), a value is
replaced in the query as a whole word only (the script turns "10" into "50" where "1" becomes "5"),
and a value that another argument holds as well stays, since the query cannot tell the two apart.
"""

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.calls import FunctionCall
from coalm_oumi.jsontext import Json

_ALPHABET = string.ascii_letters + string.digits + "_."
_FUNCTION_LENGTHS = (5, 15)
_PARAMETER_LENGTHS = (4, 10)
_TEXT_DEFAULT_LENGTH = 5


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked record, and what it takes to undo it.

    Attributes:
        query: The user's request, with masked defaults.
        tools: The tools, shuffled.
        answers: The calls that answer it.
        functions: The original name of each masked function.
        parameters: The original name of each masked parameter, by masked function and parameter.
        defaults: The original of each masked default, by masked function and parameter.
    """

    query: str
    tools: Sequence[Mapping[str, Json]]
    answers: Sequence[FunctionCall]
    functions: Mapping[str, str]
    parameters: Mapping[tuple[str, str], str]
    defaults: Mapping[tuple[str, str], tuple[Json, Json]]

    def unmask(self, call: FunctionCall) -> FunctionCall:
        """Returns the call of the original functions that a masked call stands for."""
        arguments: dict[str, Json] = {}
        for name, value in call.arguments.items():
            masked, original = self.defaults.get((call.name, name), (value, value))
            arguments[self.parameters[call.name, name]] = original if value == masked else value
        return FunctionCall(self.functions[call.name], arguments)


def mask(
    query: str,
    tools: Sequence[Mapping[str, Json]],
    answers: Sequence[FunctionCall],
    random_: random.Random,
) -> Masked:
    """Masks one record.

    Args:
        query: The user's request.
        tools: Tools of distinct names, parameters as `{name: {description, type, default}}`.
        answers: Calls of these tools.
        random_: The source of chance.
    """
    taken = {str(tool["name"]) for tool in tools}
    functions = {str(tool["name"]): _name(random_, _FUNCTION_LENGTHS, taken) for tool in tools}
    parameters: dict[tuple[str, str], str] = {}
    defaults: dict[tuple[str, str], tuple[Json, Json]] = {}
    masked_tools: list[Mapping[str, Json]] = []
    for tool in tools:
        name = str(tool["name"])
        given = [call.arguments for call in answers if call.name == name]
        described: dict[str, Json] = {}
        originals = set(tool.get("parameters", {}))
        names_taken = set(originals)
        for parameter, description in tool.get("parameters", {}).items():
            masked = _name(random_, _PARAMETER_LENGTHS, names_taken)
            parameters[functions[name], masked] = parameter
            if any(
                _repeats_default(parameter, description, arguments) for arguments in given
            ) and _is_alone(name, parameter, description["default"], answers):
                old = description["default"]
                new = _other_value(old, random_)
                defaults[functions[name], masked] = (new, old)
                description = {
                    **description,
                    "default": new,
                    "description": _replaced(str(description.get("description", "")), old, new),
                }
                query = _replaced(query, old, new)
            described[masked] = description
        masked_tools.append({**tool, "name": functions[name], "parameters": described})
    random_.shuffle(masked_tools)
    masked_names = {(f, original): masked for (f, masked), original in parameters.items()}
    return Masked(
        query=query,
        tools=masked_tools,
        answers=[_masked_call(call, functions, masked_names, defaults) for call in answers],
        functions={masked: original for original, masked in functions.items()},
        parameters=parameters,
        defaults=defaults,
    )


def _masked_call(
    call: FunctionCall,
    functions: Mapping[str, str],
    names: Mapping[tuple[str, str], str],
    defaults: Mapping[tuple[str, str], tuple[Json, Json]],
) -> FunctionCall:
    function = functions[call.name]
    arguments: dict[str, Json] = {}
    for name, value in call.arguments.items():
        masked = names[function, name]
        new, old = defaults.get((function, masked), (None, None))
        arguments[masked] = new if _same(value, old) and new is not None else value
    return FunctionCall(function, arguments)


def _name(random_: random.Random, lengths: tuple[int, int], taken: set[str]) -> str:
    """Draws a name that is none of those taken, and takes it."""
    while True:
        name = "".join(random_.choices(_ALPHABET, k=random_.randint(*lengths)))
        if name not in taken:
            taken.add(name)
            return name


def _repeats_default(name: str, description: Json, arguments: Mapping[str, Json]) -> bool:
    default = description.get("default") if isinstance(description, dict) else None
    maskable = isinstance(default, int | float | str) and not isinstance(default, bool)
    return maskable and default != "" and name in arguments and _same(arguments[name], default)


def _is_alone(
    function: str, parameter: str, default: Json, answers: Sequence[FunctionCall]
) -> bool:
    """Says whether no other argument holds the value, which the query could not tell apart."""
    return not any(
        str(value).lower() == str(default).lower()
        for call in answers
        for name, value in call.arguments.items()
        if (call.name, name) != (function, parameter)
    )


def _same(left: Json, right: Json) -> bool:
    return type(left) is type(right) and left == right


def _other_value(value: int | float | str, random_: random.Random) -> int | float | str:
    if isinstance(value, int):
        return value + random_.randint(1, 4)
    if isinstance(value, float):
        return round(value + random_.uniform(0.01, 1), 4)
    while True:
        text = "".join(random_.choices(_ALPHABET, k=_TEXT_DEFAULT_LENGTH))
        if text != value:
            return text


def _replaced(text: str, old: Json, new: Json) -> str:
    """Replaces a value where it stands as a word of its own."""
    pattern = rf"(?<![\w.]){re.escape(str(old))}(?![\w]|\.\d)"
    return re.sub(pattern, lambda _: str(new), text, flags=re.IGNORECASE)
