"""Reads an answer in the form that its sample asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall
from coalm_oumi.formats.states import DialogueState, parse_state

VERSION = 2
"""Part of the name of cached prompts, whose targets are read here. Raise it when `read` accepts or
refuses different answers. A test compares its results with recorded ones."""

_LINE = re.compile(r"^(User|Thought|Action|Observation|System):", re.MULTILINE)


class AnswerError(CoalmError):
    """An answer that is not in the form of its sample's target."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """The parts of an answer that a program can judge.

    Attributes:
        state: The dialogue state of a `tod` sample; None for others.
        calls: The function calls; empty for a reply to the user.
    """

    state: DialogueState | None = None
    calls: tuple[FunctionCall, ...] = ()


def read(text: str, sample: Sample) -> ReadAnswer:
    """Reads an answer to a sample's prompt.

    The form is that of the target: for `tod` a state (Figure 4); for `la` a JSON list of calls
    (Figure 5), or plain text if the target is plain text; for `cra` the steps of the target, such
    as `Action:` (Figure 6) or `System:` (Figure 7), none of them empty.

    Raises:
        CoalmError: It is in another form.
    """
    match sample.domain:
        case "tod":
            return ReadAnswer(state=parse_state(text))
        case "la":
            if _holds_calls(sample.output):
                return ReadAnswer(calls=tuple(calls.parse_json(text)))
            return _read_text(text, sample)
        case "cra":
            return _read_steps(text, sample)


def target(sample: Sample) -> ReadAnswer:
    """Reads a sample's own target.

    Raises:
        CoalmError: No answer could be compared with its form.
    """
    return read(sample.output, sample)


def _holds_calls(text: str) -> bool:
    try:
        calls.parse_json(text)
    except CallError:
        return False
    return True


def _read_text(text: str, sample: Sample) -> ReadAnswer:
    plain = text.strip()
    if not plain:
        raise AnswerError("the answer is empty")
    if plain[0] in "[{`" and plain != sample.output.strip():
        raise AnswerError("expected plain text, found a list of calls, whole or broken")
    return ReadAnswer()


def _read_steps(text: str, sample: Sample) -> ReadAnswer:
    steps = _steps(text)
    expected = [name for name, _ in _steps(sample.output)]
    if [name for name, _ in steps] != expected:
        raise AnswerError(f"expected the steps {', '.join(expected)}")
    for name, content in steps:
        if not content:
            raise AnswerError(f"the step `{name}` is empty")
    actions = (content for name, content in steps if name == "Action")
    return ReadAnswer(calls=tuple(map(calls.parse_python, actions)))


def _steps(text: str) -> Sequence[tuple[str, str]]:
    """Cuts `Thought: ... Action: ...` into its steps. Text before the first is not a step."""
    before, *parts = _LINE.split(text.strip())
    if before or not parts:
        raise AnswerError("expected a step such as `Action:` or `System:` first")
    return [(name, content.strip()) for name, content in zip(parts[::2], parts[1::2], strict=True)]
