"""Tool descriptions and calls in the forms of the function-calling sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.core.jsontext import Json, is_list, is_object, loads
from coalm_oumi.data.sources.reader import RecordError
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that a record offers.

    Attributes:
        name: Its name.
        parameters: The description of each parameter, by name.
        required: The parameters that a call must have, according to the description.
        description: The record's whole description of the tool, without OpenAI's wrapper.
    """

    name: str
    parameters: Mapping[str, Json]
    required: frozenset[str]
    description: Mapping[str, Json]

    def flat(self) -> Mapping[str, Json]:
        """Returns the description in xLAM's form: `parameters` by name, without a JSON Schema."""
        parameters = dict(self.parameters)
        if _is_schema(self.description.get("parameters")):
            for name, described in parameters.items():
                kind = described.get("type") if is_object(described) else None
                if name not in self.required and isinstance(kind, str):
                    # xLAM marks what may be left out in its type.
                    parameters[name] = {**described, "type": f"{kind}, optional"}
        return {**self.description, "parameters": parameters}


def read_tools(value: Json) -> list[Tool]:
    """Reads tools as xLAM, OpenAI or a JSON Schema describes them.

    Args:
        value: The list of tools, or JSON text of one.

    Raises:
        RecordError: It is something else.
    """
    tools = _from_text(value, "tools")
    if not is_list(tools):
        raise RecordError("`tools` does not hold a JSON list")
    return [_tool(tool) for tool in tools]


def _tool(described: Json) -> Tool:
    inner = described.get("function") if is_object(described) else None
    if is_object(inner):  # OpenAI's {"type": "function", "function": {...}}
        described = inner
    if not is_object(described) or not isinstance(described.get("name"), str):
        raise RecordError("a tool has no `name`")
    name = described["name"]
    schema = described.get("parameters")
    if schema is None:
        schema = {}
    if not is_object(schema):
        raise RecordError(f"the parameters of `{name}` are not an object")
    if _is_schema(schema):
        parameters: Json = schema.get("properties") or {}
        required: Json = schema.get("required") or []
    else:
        parameters = schema
        required = [key for key, value in parameters.items() if _is_required(value)]
    if not is_object(parameters):
        raise RecordError(f"the properties of `{name}` are not an object")
    if not is_list(required):
        required = []
    return Tool(name, parameters, frozenset(map(str, required)) & set(parameters), described)


def _is_schema(parameters: Json) -> bool:
    """Returns True if parameters are a JSON Schema, and False if they are listed by name.

    A parameter may itself be called `type` or `properties`, but its description is an object.
    """
    if not is_object(parameters):
        return False
    kind = parameters.get("type")
    if isinstance(kind, str):
        return kind.lower() in ("object", "dict")
    properties = parameters.get("properties")
    return is_object(properties) and all(is_object(p) for p in properties.values())


def _is_required(described: Json) -> bool:
    """Returns True if xLAM's description of a parameter has neither a default nor `optional`."""
    if not is_object(described):
        return False
    return "default" not in described and "optional" not in str(described.get("type"))


def read_calls(value: Json, field: str) -> list[FunctionCall]:
    """Reads calls as xLAM or OpenAI writes them, arguments as an object or as JSON text.

    Args:
        value: The list of calls, one bare call, or JSON text of either.
        field: The field that holds them, for the error.

    Raises:
        RecordError: It is something else.
    """
    found = _from_text(value, field)
    records = [found] if is_object(found) else found
    if not is_list(records):
        raise RecordError(f"`{field}` does not hold a JSON list of calls")
    try:
        return [calls.from_record(_call(record)) for record in records]
    except CallError as error:
        raise RecordError(f"`{field}`: {error}") from error


def _call(record: Json) -> Json:
    if not is_object(record):
        return record
    inner = record.get("function")
    if is_object(inner):  # OpenAI's {"type": "function", "function": {...}}
        record = inner
    arguments: Json = record.get("arguments")
    if arguments in (None, ""):
        arguments = {}
    return {"name": record.get("name"), "arguments": _from_text(arguments, "arguments")}


def _from_text(value: Json, field: str) -> Json:
    """Returns what a field holds, read from JSON where it is text."""
    if value is None:
        raise RecordError(f"`{field}` is missing")
    if not isinstance(value, str):
        return value
    try:
        return loads(value)
    except ValueError as error:
        raise RecordError(f"`{field}` is not JSON: {error}") from error


def undeclared(call: FunctionCall, tools: Mapping[str, Tool]) -> str | None:
    """Names the function or argument of a call that no tool declares, or returns None."""
    tool = tools.get(call.name)
    if tool is None:
        return f"`{call.name}` is not among the tools"
    for argument in call.arguments:
        if argument not in tool.parameters:
            return f"`{call.name}` has no parameter `{argument}`"
    return None


def by_name(tools: Sequence[Tool], answers: Sequence[FunctionCall]) -> dict[str, Tool]:
    """Keeps one tool per name.

    Of several tools with one name, it keeps the first that declares every argument of the calls of
    this name and whose required parameters the calls give; without such a tool, the first one.
    """
    chosen: dict[str, Tool] = {}
    for tool in tools:
        if tool.name not in chosen:
            same = [other for other in tools if other.name == tool.name]
            made = [call for call in answers if call.name == tool.name]
            chosen[tool.name] = next((other for other in same if _fits(other, made)), tool)
    return chosen


def _fits(tool: Tool, made: Sequence[FunctionCall]) -> bool:
    return all(tool.required <= set(call.arguments) <= set(tool.parameters) for call in made)
