"""Scores of the conversational ReAct skill. Shares are in [0, 1]."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coalm_oumi.core.jsontext import JsonValue, leaves, loads_model
from coalm_oumi.evaluation import results, similarity
from coalm_oumi.evaluation.failures import Failure, classify
from coalm_oumi.evaluation.matching import same_call
from coalm_oumi.evaluation.react.data import ReactQuestion
from coalm_oumi.formats.calls import CallError, FunctionCall, parse_literal
from coalm_oumi.formats.react import ReactAnswer, ReactError, read_coalm

Triple = tuple[str, str, str]
"""Function, argument and value."""


@dataclass(frozen=True, slots=True)
class ReactVerdict:
    """The verdict on one answer.

    Attributes:
        question: The question.
        answer: The answer as it was read; None if it is unreadable.
        unreadable: Why it cannot be read, or None.
        correct: Whether the answer is right: for an action the exact call, for a response every
            value of the observation that the reference has, for a decision the right choice.
        values: The number of the observation's values in the reference, and how many of these the
            answer has too. Both are 0 outside responses.
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


METRICS = (
    "action_exact", "action_function",
    "response_rouge_l", "response_bleu_4", "response_values",
    "decision_accuracy", "decision_precision", "decision_recall",
    "action_argument_precision", "action_argument_recall", "action_argument_f1",
)  # fmt: skip
"""The metrics in the order of the report. The first represents the task."""


def metrics(verdicts: Sequence[ReactVerdict]) -> dict[str, float]:
    """Returns the task's metrics; those of a kind that was not asked are left out.

    Returns:
        `action_exact`, `action_function` (one call, of the right function),
        `action_argument_precision`, `_recall` and `_f1` (micro-averaged over function, argument and
        value); `response_bleu_4` and `response_rouge_l` (of words), `response_values` (the share of
        the observation's values said by the reference that the answer says too);
        `decision_accuracy`, and `decision_precision`, `decision_recall` of the choice to act.
    """
    found = results.shares(map(parts, verdicts))
    return {name: found[name] for name in METRICS if name in found}


def parts(verdict: ReactVerdict) -> results.Parts:
    """Returns one answer's contribution to the numerator and denominator of each metric."""
    call = verdict.question.call
    answered = verdict.answer.calls if verdict.answer else ()
    if verdict.question.kind == "decision":
        is_hit = bool(answered) and call is not None
        return {
            "decision_accuracy": (verdict.correct, 1),
            "decision_precision": (is_hit, bool(answered)),
            "decision_recall": (is_hit, call is not None),
        }
    if verdict.question.kind == "response":
        return _of_response(verdict)
    expected = [call] if call else []
    guesses, truths = _triples(answered), _triples(expected)
    hits = (guesses & truths).total()
    return {
        "action_exact": (verdict.correct, 1),
        "action_function": ([one.name for one in answered] == [one.name for one in expected], 1),
        "action_argument_precision": (hits, guesses.total()),
        "action_argument_recall": (hits, truths.total()),
        "action_argument_f1": (2 * hits, guesses.total() + truths.total()),
    }


def _of_response(verdict: ReactVerdict) -> results.Parts:
    score = similarity.word_level(
        (verdict.answer.reply if verdict.answer else None) or "",
        verdict.question.sample.output.removeprefix("System:").strip(),
    )
    found: results.Parts = {
        "response_rouge_l": (score.rouge_l / 100, 1),
        "response_bleu_4": (score.bleu_4 / 100, 1),
    }
    expected, repeated = verdict.values
    if expected:
        found["response_values"] = (repeated, expected)
    return found


def _triples(calls: Sequence[FunctionCall]) -> Counter[Triple]:
    triples: Counter[Triple] = Counter()
    for call in calls:
        for name, value in call.arguments.items():
            triples[call.name, name, json.dumps(value, sort_keys=True, default=str)] += 1
    return triples


def observed_values(observation: str) -> list[str]:
    """Returns the texts and numbers of an observation, written as JSON or as a Python literal.

    A reply cannot repeat true, false and null. An observation that is plain
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
    for leaf in leaves(value):
        if isinstance(leaf, str) and leaf.strip():
            yield _folded(leaf)
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield f"{leaf:g}"


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _says(text: str, value: str) -> bool:
    """Returns True if a text holds a value by itself: `18` is neither in `180` nor in `18:30`."""
    return re.search(rf"(?<![\w:.]){re.escape(value)}(?![\w:]|\.\d)", text) is not None
