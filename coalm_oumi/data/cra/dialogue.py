"""The turns of a CRA dialogue, and the samples that they give (paper, Figures 6 and 7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import Sample
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts


@dataclass(frozen=True, slots=True)
class ApiStep:
    """What the agent does between a user's turn and its response when it needs an API.

    Attributes:
        call: The action.
        observation: The API's answer, as text.
        thought: Thought2, the reasoning about the observation.
    """

    call: FunctionCall
    observation: str
    thought: str


@dataclass(frozen=True, slots=True)
class CraTurn:
    """One user's turn, and the agent's way to its response.

    Attributes:
        user: What the user says.
        thought: Thought1, the reasoning about the user's words.
        api: The API step, if one is taken.
        system: The response.
    """

    user: str
    thought: str
    api: ApiStep | None
    system: str


@dataclass(frozen=True, slots=True)
class CraDialogue:
    """A whole dialogue.

    Attributes:
        dialogue_id: Names it.
        functions: What the agent may call in it.
        turns: Its turns, in order.
    """

    dialogue_id: str
    functions: Sequence[Function]
    turns: Sequence[CraTurn]


def samples(dialogue: CraDialogue) -> Iterator[Sample]:
    """Yields two samples a turn with an API step, action and response, and one without."""
    history: list[str] = []
    for turn in dialogue.turns:
        heard = [f"User: {turn.user}", f"Thought: {turn.thought}"]
        acted = list(heard)
        if turn.api is not None:
            action = f"Action: {calls.to_python(turn.api.call)}"
            instruction = prompts.render(
                "cra_action", functions=dialogue.functions, history=history
            )
            yield _sample(dialogue, instruction, heard, action)
            acted += [
                action,
                f"Observation: {turn.api.observation}",
                f"Thought: {turn.api.thought}",
            ]
        response = f"System: {turn.system}"
        yield _sample(dialogue, prompts.render("cra_response", history=history), acted, response)
        history += [*acted, response]


def _sample(dialogue: CraDialogue, instruction: str, lines: Sequence[str], output: str) -> Sample:
    return Sample(
        instruction=instruction,
        input="\n".join(lines),
        output=output,
        source="sgd",
        domain="cra",
        dialogue_id=dialogue.dialogue_id,
    )
