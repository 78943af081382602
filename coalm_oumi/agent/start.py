"""Builds a chat from its recipe."""

import sys
from collections.abc import Sequence
from pathlib import Path

from oumi.builders.environments import build_environment
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.environments import BaseEnvironment, SimulatedEnvironment
from rich.console import Console

from coalm_oumi.agent import forms, model, recipe
from coalm_oumi.agent.chat import Chat, confirm_in
from coalm_oumi.agent.session import AgentSession
from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.agent.turns import AgentForm
from coalm_oumi.core.errors import CoalmError


def start_chat(file: Path, changes: Sequence[str]) -> None:
    """Talks in the terminal until the user leaves.

    Args:
        file: The recipe.
        changes: Changes to it.

    Raises:
        CoalmError: The recipe, a tool or the model cannot be used.
    """
    inference, options = recipe.read(file, changes)
    params = recipe.environments(options, file)
    console = Console(highlight=False, markup=False, emoji=False)
    confirm = confirm_in(console, _read_line) if options.confirm == "writes" else None

    def build(one: EnvironmentParams) -> BaseEnvironment:
        environment = build_environment(one)
        if isinstance(environment, SimulatedEnvironment):
            environment.attach_inference(asked.engine(), inference)
        return environment

    tools = Toolbox([])
    asked = model.build(inference)

    def start() -> AgentSession:
        nonlocal tools
        tools.close()  # bookings and other states belong to one dialogue
        try:
            tools = Toolbox(params, build=build, confirm=confirm, timeout=options.tool_timeout)
        except CoalmError as error:
            raise CoalmError(f"{file}: {error}") from error
        return AgentSession(_form(options.form, tools), tools.call, max_steps=options.max_steps)

    try:
        Chat(console, asked, start, lambda: tools.tools, _read_line).run()
    finally:
        tools.close()


def _form(name: str, tools: Toolbox) -> AgentForm:
    if name == "native":
        return forms.native(tools.tools)
    return {"coalm": forms.coalm, "autotod": forms.autotod}[name](tools.functions)


def _read_line(question: str) -> str:
    line = input(question)
    if not sys.stdin.isatty():
        print(line, flush=True)  # a piped session reads like a typed one
    return line
