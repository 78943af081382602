"""What an agent's turn is made of: decisions, steps and replies."""

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
    """What the model decided: to call a tool, or to reply to the user. Exactly one of them.

    Attributes:
        thought: Its reasoning, empty where it gave none.
        call: The tool to call.
        reply: What to say to the user.
        more_calls: The further calls of an answer that makes several in parallel.
    """

    thought: str
    call: FunctionCall | None = None
    reply: str | None = None
    more_calls: tuple[FunctionCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One call or reply of the model and what came of it.

    Attributes:
        response: The model's text as it came; empty for the second of parallel calls and later.
        decision: What it decided; None where it could not be read.
        observation: What the tool returned, or what was wrong with the text. Empty for a reply.
        is_cut: True if the answer reached `max_new_tokens`.
    """

    response: str
    decision: Decision | None
    observation: str
    is_cut: bool = False

    @property
    def written(self) -> str:
        """The model's text up to what only the world or the user may write."""
        return self.response[: react.label_start(self.response)].strip()


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """One turn of the user, the steps the agent took, and its reply."""

    user: str
    steps: tuple[Step, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked.

    Attributes:
        messages: The conversation.
        tools: The functions in OpenAI's form, for an engine that takes tools; None for a form that
            writes them into the text.
    """

    messages: Sequence[Message]
    tools: Sequence[Json] | None = None


@dataclass(frozen=True, slots=True)
class AgentForm:
    """A written form: how an agent is prompted and read.

    Attributes:
        render: Writes the prompt, from the turns so far, what the user says now, and the steps
            taken since.
        parse: Reads the model's text. Raises `StepError`.
    """

    render: Callable[[Sequence[AgentTurn], str, Sequence[Step]], Prompt]
    parse: Callable[[str], Decision]
