"""The loop of a turn: Thought, Action, Observation, Thought, reply.

A session holds no model. It returns the next prompt and takes the answer, so that an evaluation can
run many sessions at once, and a terminal one.
"""

import dataclasses
from collections.abc import Callable, Sequence

from coalm_oumi.agent.turns import AgentForm, AgentTurn, Prompt, Step
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactAnswer, ReactError

STOPPED_REPLY = "I am sorry, I could not work that out. Could you say it another way?"
"""The reply to the user if the agent used all its steps without one."""

CallTool = Callable[[FunctionCall], str]
"""Runs a tool call and returns the observation, even if the call fails."""


class AgentSession:
    """A conversation under way between a user and an agent.

    Attributes:
        turns: The finished turns.
        steps: The steps since the user spoke.
        ran_out: True if the last turn ended at the step limit, without a reply from the model.
    """

    def __init__(self, form: AgentForm, call_tool: CallTool, *, max_steps: int) -> None:
        """Starts with nothing said.

        Args:
            form: The form of prompt and answers.
            call_tool: The tools.
            max_steps: The most steps per turn. AutoTOD allows 5.
        """
        self.turns: list[AgentTurn] = []
        self.steps: list[Step] = []
        self.ran_out = False
        self._form = form
        self._call_tool = call_tool
        self._max_steps = max_steps
        self._user = ""

    def hear(self, user: str) -> None:
        """Starts a turn with what the user says. Steps of an unfinished turn are dropped."""
        self._user = user
        self.steps = []
        self.ran_out = False

    def prompt(self, history: Sequence[AgentTurn] | None = None) -> Prompt:
        """Returns what to ask the model next.

        Args:
            history: The earlier turns that the model is shown; its own if None.
        """
        shown = self.turns if history is None else history
        return self._form.render(shown, self._user, self.steps)

    def take(self, response: str, *, thought: str = "", is_cut: bool = False) -> str | None:
        """Carries out an answer of the model.

        Args:
            response: The model's text.
            thought: Its reasoning, if the server returns it separately.
            is_cut: True if it reached `max_new_tokens`.

        Returns:
            The reply to the user if the turn is over, None if the model has to be asked again.
        """
        reply = None
        try:
            decision = self._form.parse(response)
            if thought:
                decision = dataclasses.replace(decision, thought=thought)
        except ReactError as error:
            self.steps.append(Step(response, None, str(error), is_cut))
        else:
            reply = decision.reply
            self._act(response, decision, is_cut)
        if reply is None and len(self.steps) >= self._max_steps:
            reply = STOPPED_REPLY
            self.ran_out = True
        if reply is not None:
            self.turns.append(AgentTurn(self._user, tuple(self.steps), reply))
        return reply

    def _act(self, response: str, decision: ReactAnswer, is_cut: bool) -> None:
        """Adds a step per call, or one for the reply."""
        observation = self._call_tool(decision.call) if decision.call else ""
        self.steps.append(Step(response, decision, observation, is_cut))
        for call in decision.calls[1:]:
            self.steps.append(Step("", ReactAnswer("", (call,)), self._call_tool(call)))
