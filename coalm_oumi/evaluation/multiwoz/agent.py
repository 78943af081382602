"""The zero-shot agent: its prompt, and the reading of what the model wrote.

Two written forms: CoALM's (Figures 6 and 7), which the model was trained on, and AutoTOD's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.evaluation.multiwoz.world import FUNCTIONS
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall
from coalm_oumi.rendering import prompts

_LABEL = re.compile(
    r"^[ \t]*\**(Thought|Action Input|Action|Observation|System|AI Assistant|Human|User|Input)"
    r"\**[ \t]*:\**[ \t]*",
    re.MULTILINE,
)
_STOP = frozenset({"Observation", "User", "Human", "Input"})


class StepError(CoalmError):
    """Text of a model that is neither an action nor a reply. The message goes to the model."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the model decided: a call, or a reply to the user. Exactly one of them.

    Attributes:
        thought: Its reasoning, empty where it gave none.
        call: The tool to call.
        reply: What to say to the user.
    """

    thought: str
    call: FunctionCall | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One answer of the model and what came of it.

    Attributes:
        response: The model's text as it came.
        decision: What it decided; None where it could not be read.
        observation: What the tool returned, or what was wrong with the text. Empty for a reply.
    """

    response: str
    decision: Decision | None
    observation: str

    @property
    def written(self) -> str:
        """The model's text up to where it writes what is not its own: observations, the user."""
        marks = (mark for mark in _LABEL.finditer(self.response) if mark.group(1) in _STOP)
        return self.response[: next((mark.start() for mark in marks), None)].strip()


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


_PAIR = re.compile(r"([^:=]*)[:=](.*)")
_SLOT = re.compile(r"[\w ]+$")
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


def _fields(text: str) -> dict[str, str]:
    """Returns the first of each labelled field, up to what only the world may write."""
    marks = list(_LABEL.finditer(text))
    fields = {"": text[: marks[0].start() if marks else len(text)].strip()}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):  # without marks there is one end too many
        label = mark.group(1)
        if label in _STOP or ("Action" in fields and label != "Action Input"):
            break
        fields.setdefault(label, text[mark.end() : end].strip())
        if label in ("System", "AI Assistant"):
            break
    return fields


def _parse_coalm(text: str) -> Decision:
    fields = _fields(text)
    thought = fields.get("Thought") or fields[""]
    if "Action" in fields:
        action = fields["Action"].strip("`").partition("\n")[0].strip()
        try:
            return Decision(thought, call=calls.parse_python(action))
        except CallError as error:
            raise StepError(
                f"the action cannot be read: {error}; write Action: function_name(argument='value')"
            ) from error
    if fields.get("System"):
        return Decision(thought, reply=fields["System"])
    raise StepError(
        "write either a line `Action: function_name(argument='value')` or `System: ...`"
    )


def _parse_autotod(text: str) -> Decision:
    fields = _fields(text)
    thought = fields.get("Thought") or fields[""]
    if "Action" in fields:
        name = fields["Action"].strip("`\"'[] ").partition("\n")[0].strip()
        name = _AUTOTOD_TOOLS.get(name.lower(), name)
        if not name:
            raise StepError("`Action:` names no tool")
        return Decision(thought, call=FunctionCall(name, _input(fields.get("Action Input", ""))))
    if fields.get("AI Assistant"):
        return Decision(thought, reply=fields["AI Assistant"])
    raise StepError("write either `Action:` and `Action Input:`, or `AI Assistant: ...`")


def _input(text: str) -> dict[str, object]:
    """Reads `name: pizza hut, people: 2`, or the same as a JSON object."""
    text = text.strip().strip('`"').strip()
    if text.startswith("{"):
        try:
            value = calls.parse_literal(text)
        except CallError as error:
            raise StepError(f"the action input cannot be read: {error}") from error
        if isinstance(value, dict):
            return value
    text = ", ".join(line for line in text.splitlines() if line.strip())
    pairs = _pairs(text)
    if text and not pairs:
        raise StepError("the action input cannot be read; write it as `slot: value, slot: value`")
    return {name: value.strip("'\"[] ") for name, value in pairs.items()}


def _pairs(text: str) -> dict[str, str]:
    """Splits `slot: value, slot: value`. A comma that no slot follows is part of the value.

    In time that grows with the text: a model may write a long one.
    """
    pairs: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        pair = _PAIR.fullmatch(part)
        slot = _SLOT.search(pair[1]) if pair else None
        if pair and slot and (name := " ".join(slot[0].lower().split())):
            last = name
            pairs[last] = pair[2]
        elif last:
            pairs[last] += f",{part}"
    return pairs


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
