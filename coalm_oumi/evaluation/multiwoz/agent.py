"""The zero-shot agent: its prompt, and the reading of what the model wrote.

Two written forms: CoALM's (Figures 6 and 7), which the model was trained on, and AutoTOD's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.evaluation.multiwoz.world import FUNCTIONS
from coalm_oumi.formats import react
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactAnswer, ReactError
from coalm_oumi.rendering import prompts


class StepError(CoalmError):
    """Text of a model that is neither an action nor a reply. The message goes to the model."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the model decided: a call, or a reply to the user. Exactly one of them.

    Attributes:
        thought: Its reasoning, empty where it gave none.
        call: The tool to call.
        reply: What to say to the user.
        more_calls: Further calls of an answer that makes several in a JSON list.
    """

    thought: str
    call: FunctionCall | None = None
    reply: str | None = None
    more_calls: tuple[FunctionCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One call or reply of the model and what came of it.

    Attributes:
        response: The model's text as it came; empty for a further call of the same answer.
        decision: What it decided; None if it could not be read.
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
class AgentFormat:
    """How an agent is prompted and read.

    Attributes:
        render: Writes the user message for the model, from the turns so far, what the user says
            now, and the steps taken since.
        parse: Reads the model's text. Raises `StepError`.
    """

    render: Callable[[Sequence[AgentTurn], str, Sequence[Step]], str]
    parse: Callable[[str], Decision]


_AUTOTOD_TOOLS: Mapping[str, str] = {
    "restaurant query": "query_restaurant",
    "restaurant reservation": "book_restaurant",
    "hotel query": "query_hotel",
    "hotel reservation": "book_hotel",
    "attraction query": "query_attraction",
    "train query": "query_train",
    "train tickets purchase": "book_train",
    "taxi reservation": "book_taxi",
}


def _parse_coalm(text: str) -> Decision:
    return _decision(lambda: react.read_coalm(text, FUNCTIONS))


def _parse_autotod(text: str) -> Decision:
    return _decision(lambda: react.read_autotod(text, FUNCTIONS, _AUTOTOD_TOOLS))


def _decision(read: Callable[[], ReactAnswer]) -> Decision:
    try:
        answer = read()
    except ReactError as error:
        raise StepError(str(error)) from error
    if answer.reply is not None:
        return Decision(answer.thought, reply=answer.reply)
    first, *more = answer.calls
    return Decision(answer.thought, call=first, more_calls=tuple(more))


def _render_coalm(turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]) -> str:
    instruction = prompts.render("multiwoz_coalm", functions=FUNCTIONS, turns=turns)
    return user_message(instruction, prompts.render("multiwoz_coalm_turn", user=user, steps=steps))


def _render_autotod(turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]) -> str:
    return prompts.render(
        "multiwoz_autotod", tools=list(_AUTOTOD_TOOLS), turns=turns, user=user, steps=steps
    )


FORMATS: Mapping[str, AgentFormat] = {
    "coalm": AgentFormat(_render_coalm, _parse_coalm),
    "autotod": AgentFormat(_render_autotod, _parse_autotod),
}
"""The forms a recipe can choose from."""
