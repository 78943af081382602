"""Scores of the conversational ReAct skill. Shares lie in [0, 1]."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coalm_oumi.core.jsontext import JsonValue, loads_model
from coalm_oumi.evaluation import similarity
from coalm_oumi.evaluation.failures import Failure, classify
from coalm_oumi.evaluation.matching import same_call
from coalm_oumi.evaluation.react.data import ReactQuestion
from coalm_oumi.formats.calls import CallError, FunctionCall, parse_literal
from coalm_oumi.formats.react import ReactAnswer, ReactError, read_coalm

Triple = tuple[str, str, str]
"""Function, argument and value."""


@dataclass(frozen=True, slots=True)
class ReactVerdict:
    """What one answer is worth.

    Attributes:
        question: What was asked.
        answer: What the model wrote, read; None if it is unreadable.
        unreadable: Why it cannot be read, or None.
        correct: The exact call of an action; every value of the observation that the reference
            says, for a response; the right choice, for a decision.
        values: How many values of the observation the reference says, and how many of these the
            answer says too. Both 0 outside responses.
    """

    question: ReactQuestion
    answer: ReactAnswer | None
    unreadable: str | None
    correct: bool
    values: tuple[int, int] = (0, 0)

    @property
    def failure(self) -> Failure | None:
        """Names what is wrong with an action or a decision; a response has no such type."""
        if self.correct:
            return None
        if self.answer is None:
            return Failure.FORMAT
        expected = [self.question.call] if self.question.call else []
        if self.question.kind == "action":
            return classify(self.answer.calls, expected)
        if self.question.kind == "decision":
            return Failure.OVER_CALLING if self.answer.calls else Failure.MISSING_CALL
        return Failure.WRONG_ANSWER


def judge(question: ReactQuestion, text: str) -> ReactVerdict:
    """Judges one answer."""
    try:
        answer = read_coalm(text, question.functions)
    except ReactError as error:
        return ReactVerdict(question, None, str(error), correct=False)
    if question.kind == "action":
        call = question.call
        right = call is not None and len(answer.calls) == 1 and same_call(answer.calls[0], call)
        return ReactVerdict(question, answer, None, correct=right)
    if question.kind == "decision":
        return ReactVerdict(
            question, answer, None, correct=bool(answer.calls) == (question.call is not None)
        )
    said, reference = _folded(answer.reply or ""), _folded(question.sample.output)
    expected = [v for v in observed_values(question.observation) if _says(reference, v)]
    repeated = [value for value in expected if _says(said, value)]
    return ReactVerdict(
        question,
        answer,
        None,
        correct=answer.reply is not None and len(repeated) == len(expected),
        values=(len(expected), len(repeated)),
    )


def metrics(verdicts: Sequence[ReactVerdict]) -> dict[str, float]:
    """Returns the task's metrics; those of a kind that was not asked are left out.

    Returns:
        `action_function` (one call, of the right function), `action_argument_precision`, `_recall`
        and `_f1` (micro-averaged over function, argument and value), `action_exact`;
        `response_bleu_4` and `response_rouge_l` (of words), `response_values` (the share of the
        observation's values said by the reference that the answer says too);
        `decision_accuracy`, and `decision_precision`, `decision_recall` of the choice to act.
    """
    actions = [v for v in verdicts if v.question.kind == "action"]
    responses = [v for v in verdicts if v.question.kind == "response"]
    decisions = [v for v in verdicts if v.question.kind == "decision"]
    found: dict[str, float] = {}
    if actions:
        found |= _of_actions(actions)
    if responses:
        found |= _of_responses(responses)
    if decisions:
        found |= _of_decisions(decisions)
    return found


def _of_actions(verdicts: Sequence[ReactVerdict]) -> dict[str, float]:
    hits = guessed = true = named = 0
    for verdict in verdicts:
        calls = verdict.answer.calls if verdict.answer else ()
        expected = [verdict.question.call] if verdict.question.call else []
        named += [call.name for call in calls] == [call.name for call in expected]
        guesses, truths = _triples(calls), _triples(expected)
        hits += (guesses & truths).total()
        guessed += guesses.total()
        true += truths.total()
    return {
        "action_exact": _share(sum(verdict.correct for verdict in verdicts), len(verdicts)),
        "action_function": _share(named, len(verdicts)),
        "action_argument_precision": _share(hits, guessed),
        "action_argument_recall": _share(hits, true),
        "action_argument_f1": _share(2 * hits, guessed + true),
    }


def _of_responses(verdicts: Sequence[ReactVerdict]) -> dict[str, float]:
    scores = [
        similarity.word_level(
            (verdict.answer.reply if verdict.answer else None) or "",
            verdict.question.sample.output.removeprefix("System:").strip(),
        )
        for verdict in verdicts
    ]
    found = {
        "response_bleu_4": sum(score.bleu_4 for score in scores) / len(scores) / 100,
        "response_rouge_l": sum(score.rouge_l for score in scores) / len(scores) / 100,
    }
    expected = sum(verdict.values[0] for verdict in verdicts)
    if expected:
        found["response_values"] = sum(verdict.values[1] for verdict in verdicts) / expected
    return found


def _of_decisions(verdicts: Sequence[ReactVerdict]) -> dict[str, float]:
    acted = [verdict for verdict in verdicts if verdict.answer and verdict.answer.calls]
    needed = [verdict for verdict in verdicts if verdict.question.call is not None]
    hits = sum(verdict.question.call is not None for verdict in acted)
    return {
        "decision_accuracy": _share(sum(verdict.correct for verdict in verdicts), len(verdicts)),
        "decision_precision": _share(hits, len(acted)),
        "decision_recall": _share(hits, len(needed)),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _triples(calls: Sequence[FunctionCall]) -> Counter[Triple]:
    return Counter(
        (call.name, name, json.dumps(value, sort_keys=True, default=str))
        for call in calls
        for name, value in call.arguments.items()
    )


def observed_values(observation: str) -> list[str]:
    """Returns the texts and numbers of an observation, written as JSON or as a Python literal.

    True, false and null are no values that a reply could repeat. An observation that is plain
    words has none.
    """
    try:
        value: JsonValue = loads_model(observation)
    except ValueError:
        try:
            value = parse_literal(observation)
        except CallError:
            return []
    return list(dict.fromkeys(_leaves(value)))


def _leaves(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str) and value.strip():
        yield _folded(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield f"{value:g}"


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _says(text: str, value: str) -> bool:
    """Returns True if a text holds a value by itself: `18` is neither in `180` nor in `18:30`."""
    return re.search(rf"(?<![\w:.]){re.escape(value)}(?![\w:]|\.\d)", text) is not None
