"""Prompt styles: each writes functions into a prompt, and reads the calls of an answer.

A recipe chooses one by name. Each belongs to a form that a decoder of `bfcl-eval` reads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oumi.core.types.conversation import Message, Role
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_list, is_object, loads_model
from coalm_oumi.formats import calls, native
from coalm_oumi.formats.calls import CallError, FunctionCall
from coalm_oumi.llm.recorded import PROBE_TOOL
from coalm_oumi.llm.text import tool_call
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine

Form = Literal["json", "bracket"]
"""The forms of answers in BFCL's result files: Figure 5's list, or `[func(a=1)]`."""

TEMPLATES = ("alpaca", "api_bank_query", "hammer", "query", "tool_results")
"""The templates that the styles render."""


class ChatRecord(TypedDict):
    """A message in the benchmarks' form."""

    role: str
    content: str


FunctionRecord = Mapping[str, Json]
"""A function as a benchmark describes it: `name`, `description` and `parameters`."""


TurnMessages = Sequence[ChatRecord]
"""The messages of a turn."""


@dataclass(frozen=True, slots=True)
class Style:
    """One way to ask and to read.

    Attributes:
        name: Its name in recipes.
        form: The form of its answers.
        native: Whether the functions are given as tools, to the chat template or the API.
        ask: Writes the first turn, from its messages, the functions, and the same messages with the
            functions in BFCL's default prompt.
        say: Writes a later turn of the user.
        tell: Writes the assistant's step and the results of its calls.
        official: Writes an answer for BFCL's decoder of this form; empty if it is in no form.
    """

    name: str
    form: Form
    native: bool
    ask: Callable[[TurnMessages, Sequence[FunctionRecord], TurnMessages], list[Message]]
    say: Callable[[TurnMessages], list[Message]]
    tell: Callable[[str, Sequence[str], Sequence[str]], list[Message]]
    official: Callable[[str], str]


def _messages(records: TurnMessages) -> list[Message]:
    roles = {"agent": "assistant", "AI": "assistant", "User": "user"}
    return [
        Message(role=Role(roles.get(record["role"], record["role"])), content=record["content"])
        for record in records
    ]


# --- Figure 5: a JSON list ---


def flat_function(function: FunctionRecord) -> dict[str, Json]:
    """Describes a function of BFCL as xLAM and Figure 5 do: its parameters without a schema.

    A function that already has this form, as API-Bank's, stays as it is.
    """
    schema = function["parameters"]
    if not isinstance(schema.get("properties"), dict):
        return dict(function)
    required = schema.get("required", [])
    parameters = {
        name: {**details, "required": True} if name in required else dict(details)
        for name, details in schema["properties"].items()
    }
    return {**function, "parameters": parameters}


def _figure_5(
    messages: TurnMessages, functions: Sequence[FunctionRecord], prompted: TurnMessages
) -> list[Message]:
    instruction = prompts.render("hammer", tools=[flat_function(f) for f in functions])
    text = prompts.render("alpaca", instruction=instruction, input=_query(messages))
    return [Message(role=Role.USER, content=text)]


def _query(messages: TurnMessages) -> str:
    if len(messages) == 1:
        return prompts.render("query", query=messages[0]["content"])
    return prompts.render("api_bank_query", messages=messages)


def _figure_5_say(messages: TurnMessages) -> list[Message]:
    return [Message(role=Role.USER, content=_query(messages))]


def _figure_5_tell(answer: str, called: Sequence[str], results: Sequence[str]) -> list[Message]:
    steps = list(zip(called, results, strict=True))
    text = prompts.render("tool_results", steps=steps)
    return [Message(role=Role.ASSISTANT, content=answer), Message(role=Role.USER, content=text)]


def read_list(text: str) -> list[FunctionCall]:
    """Reads Figure 5's list as the decoder of Hammer's models in BFCL does.

    Raises:
        CallError: The text is something else. A single call outside a list is.
    """
    try:
        value = loads_model(text.replace("```", ""))
    except ValueError as error:
        raise CallError(f"not a JSON list of calls: {error}") from error
    if not is_list(value):
        raise CallError(f"expected a JSON list of calls, found {type(value).__name__}")
    if any(is_object(record) and "arguments" not in record for record in value):
        raise CallError("a call has no `arguments`")
    return [calls.from_record(record) for record in value]


# --- BFCL's default prompt mode: a list in brackets ---


def _bfcl_tell(answer: str, called: Sequence[str], results: Sequence[str]) -> list[Message]:
    told = [Message(role=Role.TOOL, content=result) for result in results]
    return [Message(role=Role.ASSISTANT, content=answer), *told]


# --- Native tool calling ---


def _native_tell(answer: str, called: Sequence[str], results: Sequence[str]) -> list[Message]:
    called_now = native.read_native(answer)
    tool_calls = [tool_call(call, f"call{number:05}") for number, call in enumerate(called_now)]
    told = [
        Message(role=Role.TOOL, content=result, tool_call_id=call.id)
        for call, result in zip(tool_calls, results, strict=True)
    ]
    return [Message(role=Role.ASSISTANT, content=None, tool_calls=tool_calls), *told]


def _native_official(text: str) -> str:
    try:
        return native.to_json(native.read_native(text))
    except CallError:
        return ""


STYLES: Mapping[str, Style] = {
    style.name: style
    for style in (
        Style(
            name="coalm",
            form="json",
            native=False,
            ask=_figure_5,
            say=_figure_5_say,
            tell=_figure_5_tell,
            official=str,
        ),
        Style(
            name="bfcl",
            form="bracket",
            native=False,
            ask=lambda messages, functions, prompted: _messages(prompted),
            say=_messages,
            tell=_bfcl_tell,
            official=str,
        ),
        Style(
            name="native",
            form="json",
            native=True,
            ask=lambda messages, functions, prompted: _messages(messages),
            say=_messages,
            tell=_native_tell,
            official=_native_official,
        ),
    )
}
"""The styles by name: Figure 5's, BFCL's default prompt mode, the chat template's own."""


def check_engine(style: Style, config: "EvaluationConfig") -> None:
    """Refuses a native style if the engine takes no tools.

    Raises:
        CoalmError: The engine takes none.
    """
    # Not at the top, since Oumi loads this module during its own imports.
    from oumi.inference.native_tool_calling import supports_native_tool_calling

    if style.native and not supports_native_tool_calling(config.inference_engine):
        raise CoalmError(
            f"the prompt style `{style.name}` gives functions to the engine, and "
            f"{config.inference_engine} takes none; use VLLM or a remote engine, or another style"
        )


def check_template(style: Style, engine: "BaseInferenceEngine") -> None:
    """Refuses a native style if a local model's chat template leaves out the functions.

    The same question is rendered with and without a function. A server renders by itself:
    `RecordedModel.check_tools` asks it.

    Raises:
        CoalmError: Both prompts are the same, so the model would never see a function.
    """
    tokenizer = getattr(engine, "_tokenizer", None)
    if not style.native or tokenizer is None:
        return
    question = [{"role": "user", "content": "Hello"}]
    rendered = [
        tokenizer.apply_chat_template(
            question, tools=tools, tokenize=False, add_generation_prompt=True
        )
        for tools in (None, [PROBE_TOOL])
    ]
    if rendered[0] == rendered[1]:
        raise CoalmError(
            "the model's chat template leaves out functions that are given as tools, so the style "
            f"`{style.name}` would ask without them; use another style, or a template with tools"
        )
