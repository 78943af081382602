"""The written forms of an agent: CoALM's (Figures 6 and 7), AutoTOD's, and native tool calls.

Each is a function from the tools to an `AgentForm`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from oumi.core.configs.params.tool_params import ToolParams
from oumi.core.types.conversation import Message, Role
from pydantic import ValidationError

from coalm_oumi.agent.turns import AgentForm, AgentTurn, Prompt, Step
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.options import first_problem
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.formats import calls, react
from coalm_oumi.formats.calls import CallError
from coalm_oumi.formats.react import ReactAnswer, ReactError
from coalm_oumi.llm.text import tool_call
from coalm_oumi.rendering import prompts

# --- CoALM's form ---


def coalm(functions: Sequence[Function]) -> AgentForm:
    """Returns CoALM's form: `Thought:` and then `Action: f(a=1)` or `System: ...`."""
    return AgentForm(
        functools.partial(_render_coalm, functions),
        lambda text: react.read_coalm(text, functions),
    )


def _render_coalm(
    functions: Sequence[Function], turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]
) -> Prompt:
    instruction = prompts.render("agent_coalm", functions=functions, turns=turns)
    now = prompts.render("agent_coalm_turn", user=user, steps=steps)
    return _asked(user_message(instruction, now))


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
) -> Callable[[str], ReactAnswer]:
    """Returns the reader of AutoTOD's form, which raises `ReactError`.

    Args:
        functions: The functions behind the tools.
        titles: The function's name by the tool's title in the prompt, in lower case. Any other
            name is taken as the function's.
    """
    return lambda text: react.read_autotod(text, functions, titles)


# --- Native tool calls ---


def native(tools: Sequence[ToolParams]) -> AgentForm:
    """Returns the form of native tool calling: the engine is given tools and returns calls.

    If the engine returned no call, the answer is a reply. Calls reach the parser as the JSON list
    of Figure 5, as `coalm_oumi.llm.recorded` writes them.

    Raises:
        CoalmError: Oumi cannot write a tool's JSON Schema in OpenAI's form.
    """
    definitions = [_definition(tool) for tool in tools]
    return AgentForm(functools.partial(_render_native, definitions), parse_native)


def _definition(tool: ToolParams) -> dict[str, object]:
    try:
        return tool.to_tool_definition().model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise CoalmError(f"tool `{tool.id}`: parameters: {first_problem(error)}") from error


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
            call = tool_call(step.decision.call, f"c{first + index:08}")
            thought = step.decision.thought or None
            messages.append(Message(role=Role.ASSISTANT, content=thought, tool_calls=[call]))
            messages.append(Message(role=Role.TOOL, content=step.observation, tool_call_id=call.id))
    return messages


def parse_native(text: str) -> ReactAnswer:
    """Reads what an engine with native tool calling returned.

    Raises:
        ReactError: A list of calls that cannot be read, or nothing at all.
    """
    content = text.strip()
    if not content:
        raise ReactError("the answer was empty; call a tool, or answer the user in plain text")
    if not content.startswith("["):
        return ReactAnswer("", reply=content)
    try:
        found = calls.parse_json(content)
    except CallError as error:
        if '"name"' not in content:
            return ReactAnswer("", reply=content)
        raise ReactError(f"the tool calls cannot be read: {error}") from error
    if not found:
        raise ReactError("the list of calls was empty; answer the user in plain text")
    return ReactAnswer("", tuple(found))


def _asked(text: str) -> Prompt:
    return Prompt([Message(role=Role.USER, content=text)])
