"""The written forms of an agent: CoALM's (Figures 6 and 7), AutoTOD's, and native tool calls.

Each is a function from the tools to an `AgentForm`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from oumi.core.configs.params.tool_params import ToolParams
from oumi.core.types.conversation import Message, Role
from oumi.core.types.tool_call import FunctionCall as NativeFunction
from oumi.core.types.tool_call import ToolCall

from coalm_oumi.agent.turns import (
    AgentForm,
    AgentTurn,
    Decision,
    Prompt,
    Step,
    StepError,
)
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.formats import calls, react
from coalm_oumi.formats.calls import CallError
from coalm_oumi.formats.react import ReactAnswer, ReactError
from coalm_oumi.rendering import prompts

# --- CoALM's form ---


def coalm(functions: Sequence[Function]) -> AgentForm:
    """Returns CoALM's form: `Thought:` and then `Action: f(a=1)` or `System: ...`."""
    return AgentForm(functools.partial(_render_coalm, functions), coalm_parser(functions))


def coalm_parser(functions: Sequence[Function]) -> Callable[[str], Decision]:
    """Returns the reader of CoALM's form, which raises `StepError`."""
    return lambda text: _decision(lambda: react.read_coalm(text, functions))


def _render_coalm(
    functions: Sequence[Function], turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]
) -> Prompt:
    instruction = prompts.render("agent_coalm", functions=functions, turns=turns)
    now = prompts.render("agent_coalm_turn", user=user, steps=steps)
    return _asked(user_message(instruction, now))


def _decision(read: Callable[[], ReactAnswer]) -> Decision:
    try:
        answer = read()
    except ReactError as error:
        raise StepError(str(error)) from error
    if answer.reply is not None:
        return Decision(answer.thought, reply=answer.reply)
    first, *more = answer.calls
    return Decision(answer.thought, call=first, more_calls=tuple(more))


# --- AutoTOD's form ---


def autotod(functions: Sequence[Function]) -> AgentForm:
    """Returns AutoTOD's form: `Action:` and `Action Input:`, or `AI Assistant: ...`."""
    return AgentForm(functools.partial(_render_autotod, functions), autotod_parser(functions, {}))


def _render_autotod(
    functions: Sequence[Function], turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]
) -> Prompt:
    return _asked(
        prompts.render("agent_autotod", functions=functions, turns=turns, user=user, steps=steps)
    )


def autotod_parser(
    functions: Sequence[Function], titles: Mapping[str, str]
) -> Callable[[str], Decision]:
    """Returns the reader of AutoTOD's form, which raises `StepError`.

    Args:
        functions: The functions behind the tools.
        titles: The function's name by the tool's title in the prompt, in lower case. Any other
            name is taken as the function's.
    """
    return lambda text: _decision(lambda: react.read_autotod(text, functions, titles))


# --- Native tool calls ---


def native(tools: Sequence[ToolParams]) -> AgentForm:
    """Returns the form of native tool calling: the engine is given tools and returns calls.

    If the engine returned no call, the answer is a reply. Calls reach the parser as the JSON list
    of Figure 5, as `coalm_oumi.llm.recorded` writes them.
    """
    definitions = [
        tool.to_tool_definition().model_dump(mode="json", exclude_none=True) for tool in tools
    ]
    return AgentForm(functools.partial(_render_native, definitions), parse_native)


def _render_native(
    definitions: Sequence[dict[str, object]],
    turns: Sequence[AgentTurn],
    user: str,
    steps: Sequence[Step],
) -> Prompt:
    messages: list[Message] = []
    for turn in turns:
        messages.append(Message(role=Role.USER, content=turn.user))
        messages += _native_steps(turn.steps, first=len(messages))
        messages.append(Message(role=Role.ASSISTANT, content=turn.reply))
    messages.append(Message(role=Role.USER, content=user))
    messages += _native_steps(steps, first=len(messages))
    return Prompt(messages, definitions)


def _native_steps(steps: Sequence[Step], *, first: int) -> list[Message]:
    """Writes calls as assistant and tool messages, and corrections of unreadable ones in words."""
    messages: list[Message] = []
    for index, step in enumerate(steps):
        if step.decision is None:
            messages.append(Message(role=Role.ASSISTANT, content=step.written or "(nothing)"))
            messages.append(Message(role=Role.USER, content=step.observation))
        elif step.decision.call is not None:
            name = f"c{first + index:08}"  # Mistral's chat template wants nine letters and digits
            arguments = dumps(dict(step.decision.call.arguments))
            function = NativeFunction(name=step.decision.call.name, arguments=arguments)
            call = ToolCall(id=name, function=function)
            thought = step.decision.thought or None
            messages.append(Message(role=Role.ASSISTANT, content=thought, tool_calls=[call]))
            messages.append(Message(role=Role.TOOL, content=step.observation, tool_call_id=name))
    return messages


def parse_native(text: str) -> Decision:
    """Reads what an engine with native tool calling returned.

    Raises:
        StepError: A list of calls that cannot be read, or nothing at all.
    """
    content = text.strip()
    if not content:
        raise StepError("the answer was empty; call a tool, or answer the user in plain text")
    if not content.startswith("["):
        return Decision("", reply=content)
    try:
        found = calls.parse_json(content)
    except CallError as error:
        if '"name"' not in content:
            return Decision("", reply=content)
        raise StepError(f"the tool calls cannot be read: {error}") from error
    if not found:
        raise StepError("the list of calls was empty; answer the user in plain text")
    return Decision("", call=found[0], more_calls=tuple(found[1:]))


def _asked(text: str) -> Prompt:
    return Prompt([Message(role=Role.USER, content=text)])
