"""The parts of an agent's turn: steps and a reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oumi.core.types.conversation import Message

from coalm_oumi.core.jsontext import Json
from coalm_oumi.formats import react
from coalm_oumi.formats.react import ReactAnswer


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
    decision: ReactAnswer | None
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
        parse: Reads the model's text. Raises `ReactError`, whose message goes to the model.
    """

    render: Callable[[Sequence[AgentTurn], str, Sequence[Step]], Prompt]
    parse: Callable[[str], ReactAnswer]
