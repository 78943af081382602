"""The questions of the task: held-out CRA samples, and the choice between acting and answering."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import Sample
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

Kind = Literal["action", "response", "decision"]
"""The kinds of questions: Figure 6's action, Figure 7's response, or the choice between them."""

_TOOLS = re.compile(r"\[BEGIN OF AVAILABLE TOOLS\]\n(.*?)\n\[END OF AVAILABLE TOOLS\]", re.DOTALL)
_TOOL = re.compile(r"\d+\. ([\w.]+)\(([^)]*)\)(?:: (.*))?")
_HISTORY = re.compile(
    r"\[BEGIN OF CONVERSATION HISTORY\]\n(.*)\n\[END OF CONVERSATION HISTORY\]", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ReactQuestion:
    """One question to the model.

    Attributes:
        kind: The kind of the question.
        sample: The instruction, the input and the reference.
        call: The reference's call; None if the reference answers the user.
        functions: The functions that the prompt lists; none in a `response` question.
    """

    kind: Kind
    sample: Sample
    call: FunctionCall | None
    functions: Sequence[Function]

    @property
    def observation(self) -> str:
        """The last observation of the input, or "" if no function was called in this turn."""
        lines = self.sample.input.splitlines()
        observed = [line for line in lines if line.startswith("Observation:")]
        return observed[-1].removeprefix("Observation:").strip() if observed else ""


def questions(samples: Sequence[Sample], *, place: str) -> list[ReactQuestion]:
    """Makes the questions of held-out CRA samples.

    Figures 6 and 7 always give the thought, and their instruction tells the model whether to act or
    to answer. A `decision` question gives only the user's turn, with all functions listed. If a
    mixture has no `decision` samples, these questions are made here, one per turn, with the
    functions that an action sample of the same dialogue lists.

    Args:
        samples: The held-out samples of the domain `cra`.
        place: The mixture, for an error.

    Raises:
        CoalmError: A target is neither an action nor a response, or a listed call cannot be read.
    """
    asked = [_question(sample, place) for sample in samples]
    if not any(question.kind == "decision" for question in asked):
        return asked + _decisions(asked)
    return asked


def _question(sample: Sample, place: str) -> ReactQuestion:
    functions = listed_functions(sample.instruction)
    output = sample.output
    kind: Kind = "response"
    if output.startswith("Thought:"):
        kind = "decision"
        _, _, output = output.partition("\n")
    if output.startswith("Action:"):
        if kind == "response":
            kind = "action"
        call = calls.parse_python(output.removeprefix("Action:").strip())
        return ReactQuestion(kind, sample, call, functions)
    if output.startswith("System:"):
        return ReactQuestion(kind, sample, None, functions)
    raise CoalmError(
        f"{place}: {sample.dialogue_id}: the target is neither `Action: ...` nor `System: ...`"
    )


def _decisions(asked: Sequence[ReactQuestion]) -> list[ReactQuestion]:
    """Makes one decision per turn that was given as an action or a response without a call."""
    of_dialogue = {q.sample.dialogue_id: q.functions for q in asked if q.kind == "action"}
    longest = max(of_dialogue.values(), key=len, default=())
    decisions: list[ReactQuestion] = []
    for question in asked:
        if question.kind == "response" and question.observation:
            continue  # the same turn's action sample decides
        functions = of_dialogue.get(question.sample.dialogue_id, longest)
        if not functions:
            continue
        history = _HISTORY.search(question.sample.instruction)
        instruction = prompts.render(
            "cra_decision",
            functions=functions,
            history=[history[1]] if history else [],
        )
        user = question.sample.input.partition("\nThought:")[0]
        sample = replace(question.sample, instruction=instruction, input=user)
        decisions.append(ReactQuestion("decision", sample, question.call, functions))
    return decisions


def listed_functions(instruction: str) -> list[Function]:
    """Reads the functions that a prompt of Figure 6 lists; none if it lists none."""
    listing = _TOOLS.search(instruction)
    functions: list[Function] = []
    for line in listing[1].splitlines() if listing else []:
        tool = _TOOL.fullmatch(line.strip())
        if tool is None:
            continue
        arguments = [argument.strip() for argument in tool[2].split(",") if argument.strip()]
        required = tuple(argument for argument in arguments if "=" not in argument)
        optional = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        functions.append(Function(tool[1], tool[3] or "", required, optional))
    return functions
