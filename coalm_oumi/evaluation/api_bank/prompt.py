"""The prompts of API-Bank's questions in each style.

`hammer` is the prompt of Hammer's evaluation, which the paper used, so it is the default for every
row of Table 3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oumi.core.types.conversation import Message, Role
from oumi.core.types.tool_call import ToolCall

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, unfenced
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.api_bank.data import ApiBankEntry
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError
from coalm_oumi.llm.text import tool_call
from coalm_oumi.rendering import prompts

TEMPLATES = ("alpaca", "api_bank_conversation", "api_bank_hammer", "api_bank_input", "hammer")
"""The templates that the styles render."""


@dataclass(frozen=True, slots=True)
class ApiBankStyle:
    """One way to ask a question of API-Bank.

    Attributes:
        name: Its name in recipes.
        native: True if the functions go to the chat template or the API as tools.
        ask: Writes the messages for the model.
        read: Returns the answer in Figure 5's form, or "" if it cannot be read.
    """

    name: str
    native: bool
    ask: Callable[[ApiBankEntry], list[Message]]
    read: Callable[[str], str]


def by_name(name: str) -> ApiBankStyle:
    """Returns a style.

    Raises:
        CoalmError: No style has that name.
    """
    if name not in STYLES:
        raise CoalmError(
            f"eval_kwargs.data.style: expected one of {', '.join(STYLES)}, found {name!r}"
        )
    return STYLES[name]


# Hammer's repository holds the questions twice: as records, which this package reads, and as the
# prompts that its evaluation sends. They differ in two places, where the prompts are followed.
_DESCRIPTION_IN_RECORDS = "User`s token."
_DESCRIPTION_IN_PROMPTS = r"User\\`s token."  # JSON of a backslash: API-Bank's source escapes it
_REPLY_WITH_SPACE = ("api_bank/apibank_l1/263", "AI: Sure, let me check.\n")


def _hammer(entry: ApiBankEntry) -> list[Message]:
    """Writes the prompt of Hammer's evaluation, byte for byte.

    Rendering strips white space at the end. The two newlines there are part of Hammer's prompt.
    """
    text = prompts.render("api_bank_hammer", tools=entry.tools, messages=entry.messages)
    text = text.replace(_DESCRIPTION_IN_RECORDS, _DESCRIPTION_IN_PROMPTS)
    entry_id, reply = _REPLY_WITH_SPACE
    if entry.id == entry_id:
        text = text.replace(reply, reply.replace("\n", " \n"))
    return [Message(role=Role.USER, content=f"{text}\n\n")]


def _coalm(entry: ApiBankEntry) -> list[Message]:
    """Writes the prompt of Figure 5, in the form of CoALM's training samples."""
    instruction = prompts.render("hammer", tools=entry.tools)
    conversation = prompts.render("api_bank_input", messages=entry.messages)
    return [Message(role=Role.USER, content=user_message(instruction, conversation))]


def _native(entry: ApiBankEntry) -> list[Message]:
    """Writes a conversation with tool calls and tool results, as an API takes it."""
    messages: list[Message] = []
    call_ids: list[str] = []
    for index, message in enumerate(entry.messages):
        role, content = message["role"], message["content"]
        if role == "assistant":
            tool_calls = _tool_calls(content, index)
            call_ids = [call.id for call in tool_calls]
            messages.append(Message(role=Role.ASSISTANT, tool_calls=tool_calls))
        elif role == "tool":
            # One result per request. Every published request makes one call.
            for call_id in call_ids:
                messages.append(Message(role=Role.TOOL, content=content, tool_call_id=call_id))
        else:
            speaker = Role.USER if role == "user" else Role.ASSISTANT
            messages.append(Message(role=speaker, content=content))
    return messages


def _tool_calls(content: str, index: int) -> list[ToolCall]:
    """Reads the calls of a request, which Hammer's file holds as fenced JSON."""
    try:
        requested = calls.parse_json(unfenced(content))
    except CallError as error:
        raise CoalmError(f"an API request of the conversation cannot be read: {error}") from error
    return [tool_call(call, f"c{index:04}{place:04}") for place, call in enumerate(requested)]


STYLES: Mapping[str, ApiBankStyle] = {
    style.name: style
    for style in (
        ApiBankStyle("hammer", native=False, ask=_hammer, read=str),
        ApiBankStyle("coalm", native=False, ask=_coalm, read=str),
        ApiBankStyle("native", native=True, ask=_native, read=styles.STYLES["native"].official),
    )
}
"""The styles by name."""


def tools(entry: ApiBankEntry) -> Sequence[styles.FunctionRecord]:
    """Returns the functions of a question as OpenAI describes tools."""
    return [
        {"type": "function", "function": {**tool, "parameters": _schema(tool["parameters"])}}
        for tool in entry.tools
    ]


_JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


def _schema(parameters: Mapping[str, Json]) -> Json:
    """Describes parameters as JSON Schema. Types that it does not know become text."""
    properties = {
        name: {**details, "type": _JSON_TYPES.get(details.get("type", "str"), "string")}
        for name, details in parameters.items()
    }
    return {"type": "object", "properties": properties, "required": list(parameters)}
