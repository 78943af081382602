"""The parts of an agent's turn: decisions, steps and replies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oumi.core.types.conversation import Message

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.formats import react
from coalm_oumi.formats.calls import FunctionCall


class StepError(CoalmError):
    """Text of a model that is neither an action nor a reply. The message goes to the model."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The model's decision: either to call a tool or to reply to the user.

    Attributes:
        thought: Its reasoning; empty if it gave none.
        call: The call of a tool.
        reply: The reply to the user.
        more_calls: The further calls of an answer that makes several in parallel.
    """

    thought: str
    call: FunctionCall | None = None
    reply: str | None = None
    more_calls: tuple[FunctionCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One call or reply of the model, and its outcome.

    Attributes:
        response: The model's raw text; empty for all parallel calls but the first.
        decision: The model's decision; None if it could not be read.
        observation: The result of the tool, or what was wrong with the text. Empty for a reply.
        is_cut: True if the answer reached `max_new_tokens`.
    """

    response: str
    decision: Decision | None
    observation: str
    is_cut: bool = False

    @property
    def written(self) -> str:
        """The model's text up to a field that only the environment or the user may write."""
        return self.response[: react.label_start(self.response)].strip()


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """One turn of the user, the steps the agent took, and its reply."""

    user: str
    steps: tuple[Step, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one question to the model.

    Attributes:
        messages: The conversation.
        tools: The functions in OpenAI's form, for an engine that takes tools. None if the text
            lists them.
    """

    messages: Sequence[Message]
    tools: Sequence[Json] | None = None


@dataclass(frozen=True, slots=True)
class AgentForm:
    """A written form: the prompt of an agent and the reader of its answers.

    Attributes:
        render: Writes the prompt from the turns so far, the user's new words, and the steps since.
        parse: Reads the model's text. Raises `StepError`.
    """

    render: Callable[[Sequence[AgentTurn], str, Sequence[Step]], Prompt]
    parse: Callable[[str], Decision]
