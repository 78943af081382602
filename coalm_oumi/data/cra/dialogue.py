"""The turns of a CRA dialogue, and their samples (paper, Figures 6 and 7)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import LeftOut, Sample
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

Target = Literal["action", "response", "decision"]
"""The skill of a sample: Figure 6, Figure 7, or the choice between the two."""

PAPER_TARGETS: tuple[Target, ...] = ("action", "response")


@dataclass(frozen=True, slots=True)
class ApiStep:
    """The agent's call of an API between a user's turn and its response.

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
    """One turn of the user, with the agent's steps and response.

    Attributes:
        user: The user's words.
        thought: Thought1, the reasoning about the user's words.
        api: The API step, if one is taken.
        system: The response.
        left_out: The samples that must not be made of the turn, each with the reason.
    """

    user: str
    thought: str
    api: ApiStep | None
    system: str
    left_out: Mapping[Target, str] = field(default_factory=dict[Target, str])


@dataclass(frozen=True, slots=True)
class CraDialogue:
    """A whole dialogue.

    Attributes:
        dialogue_id: Names it.
        functions: The functions that the agent may call.
        turns: Its turns, in order.
    """

    dialogue_id: str
    functions: Sequence[Function]
    turns: Sequence[CraTurn]


def samples(
    dialogue: CraDialogue, targets: Sequence[Target] = PAPER_TARGETS
) -> Iterator[Sample | LeftOut]:
    """Yields the samples of a dialogue, turn by turn.

    A turn with an API step gives an `action` sample (Figure 6), and every turn gives a `response`
    sample (Figure 7). A `decision` sample, which the paper does not have, shows only the user's
    turn, and its target is the thought, followed by the action or the response.

    Args:
        dialogue: The dialogue.
        targets: The kinds of samples to make.

    Yields:
        The samples, or `LeftOut` for a sample that must not be made. One reason is checked here: a
        target must not call a function or argument that the sample's prompt does not list.
    """
    history: list[str] = []
    for turn in dialogue.turns:
        user, thought = f"User: {turn.user}", f"Thought: {turn.thought}"
        response = f"System: {turn.system}"
        steps = [user, thought]
        made: dict[Target, tuple[str, Sequence[str], str]] = {}
        if turn.api is not None:
            action = f"Action: {calls.to_python(turn.api.call)}"
            made["action"] = ("cra_action", steps, action)
            made["decision"] = ("cra_decision", [user], f"{thought}\n{action}")
            observed = f"Observation: {turn.api.observation}"
            steps = [*steps, action, observed, f"Thought: {turn.api.thought}"]
        else:
            made["decision"] = ("cra_decision", [user], f"{thought}\n{response}")
        made["response"] = ("cra_response", steps, response)
        for target, (template, lines, output) in made.items():
            if target not in targets:
                continue
            reason = _left_out(turn, target, dialogue.functions)
            if reason is not None:
                yield LeftOut(f"{target}: {reason}")
                continue
            instruction = prompts.render(template, functions=dialogue.functions, history=history)
            yield _sample(dialogue, instruction, lines, output)
        history += [*steps, response]


def call_fault(call: FunctionCall, functions: Sequence[Function]) -> str | None:
    """Checks a call against the functions that a prompt lists, and returns its fault.

    A call is right if one of the listed functions has its name and all its arguments, and it has
    all required arguments of that function.
    """
    variants = [function for function in functions if function.name == call.name]
    if not variants:
        return "the call uses a function that its prompt does not list"
    given = set(call.arguments)
    known = [f for f in variants if given <= {*f.required, *f.optional}]
    if not known:
        return "the call uses an argument that its prompt does not list"
    if all(set(function.required) - given for function in known):
        return "the call lacks a required argument"
    return None


def _left_out(turn: CraTurn, target: Target, functions: Sequence[Function]) -> str | None:
    """Returns why a sample must not be made; None if it may."""
    if target in turn.left_out:
        return turn.left_out[target]
    if target == "response" or turn.api is None:
        return None
    return call_fault(turn.api.call, functions)


def _sample(dialogue: CraDialogue, instruction: str, lines: Sequence[str], output: str) -> Sample:
    return Sample(
        instruction=instruction,
        input="\n".join(lines),
        output=output,
        source="sgd",
        domain="cra",
        dialogue_id=dialogue.dialogue_id,
    )
