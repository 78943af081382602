"""The verdicts on answers to BFCL, by the official checker: accuracies, failures and tables."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oumi.core.types.conversation import Message

from coalm_oumi.core.jsontext import Json, dumps, is_object, unfenced
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclVerdict, BfclWorker
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.run import Answer
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.failures import Failure
from coalm_oumi.evaluation.styles import Style, read_list
from coalm_oumi.formats import native
from coalm_oumi.formats.calls import CallError
from coalm_oumi.rendering import markdown


@dataclass(frozen=True, slots=True)
class Judged:
    """A sample with the model's answer and the official checker's verdict.

    Attributes:
        entry: The sample.
        answer: The model's answer.
        verdict: The official verdict.
        failure: The type of failure; None for a right answer.
    """

    entry: BfclEntry
    answer: Answer
    verdict: BfclVerdict
    failure: Failure | None


def judge(
    version: Version,
    style: Style | Official,
    entries: Sequence[BfclEntry],
    answers: Sequence[Answer],
) -> list[Judged]:
    """Judges answers with the official checker.

    Raises:
        CoalmError: The environment of bfcl-eval is unavailable, or the checker failed.
    """
    rows: dict[str, list[tuple[int, Json]]] = defaultdict(list)
    for entry, answer in zip(entries, answers, strict=True):
        rows[entry.category].append((entry.index, _official(style, entry, answer)))
    # A separate process: environments of multi-turn samples must be fresh.
    with BfclWorker(version) as worker:
        verdicts = {
            (v.category, v.index): v
            for v in worker.score(style.form, rows, without_dots=style.native)
        }
    judged: list[Judged] = []
    for entry, answer in zip(entries, answers, strict=True):
        verdict = verdicts[entry.category, entry.index]
        judged.append(Judged(entry, answer, verdict, _failure(style, entry, answer, verdict)))
    return judged


def accuracies(judged: Sequence[Judged]) -> dict[str, float]:
    """Returns the share of right answers in each category, and in each form of BFCL's prompt."""
    found: dict[str, list[bool]] = defaultdict(list)
    for sample in judged:
        entry = sample.entry
        found[entry.category].append(sample.verdict.valid)
        if entry.prompt_form:
            found[f"{entry.category}/{entry.prompt_form}"].append(sample.verdict.valid)
    return {category: sum(valid) / len(valid) for category, valid in found.items()}


def abstentions(judged: Sequence[Judged]) -> dict[str, int]:
    """Counts how the right answers of the irrelevance categories abstained.

    BFCL counts every answer that its decoder cannot read as an abstention.

    Returns:
        How many were right `in_words`, with `no_calls` (an empty list, or Granite's call of
        `no_function`), and `unreadable`: an attempt at a call that the decoder could not read.
    """
    counts = {"in_words": 0, "no_calls": 0, "unreadable": 0}
    for sample in judged:
        if "irrelevance" in sample.entry.category and sample.verdict.valid:
            counts[_abstention(sample)] += 1
    return counts


def _abstention(sample: Judged) -> str:
    text = sample.answer if isinstance(sample.answer, str) else dumps(sample.answer)
    try:
        if not native.read_native(text):
            return "no_calls"
    except CallError:
        pass
    bare = unfenced(text.strip()).strip()
    if not bare.strip("[] \n") and bare:
        return "no_calls"
    names = (re.escape(function["name"]) for function in sample.entry.functions)
    called = re.search(rf"(?:{'|'.join(names)})\s*\(", text) if sample.entry.functions else None
    attempt = called or bare[:1] in ("[", "{") or native.looks_like_a_call(text)
    return "unreadable" if attempt else "in_words"


def summary(
    version: Version,
    judged: Sequence[Judged],
    columns: Mapping[str, float],
    too_long: Mapping[str, int],
) -> str:
    """Writes the leaderboard's columns, each category and the abstentions as Markdown.

    Args:
        version: The version of the benchmark.
        judged: The samples.
        columns: The leaderboard's columns, in [0, 1].
        too_long: How many samples of a category were longer than the model's context.
    """
    counts: dict[str, list[bool]] = defaultdict(list)
    for sample in judged:
        counts[sample.entry.category].append(sample.verdict.valid)
    shares: list[Sequence[str]] = []
    for name in version.shown:
        shares.append([name, f"{100 * columns[name]:.2f}" if name in columns else "incomplete"])
    shares += version.notes.items()
    categories: list[list[str]] = []
    for name, valid in counts.items():
        share = 100 * sum(valid) / len(valid)
        numbers = (sum(valid), len(valid), f"{share:.2f}", too_long.get(name, 0))
        categories.append([name, *map(str, numbers)])
    parts = [
        markdown.table([f"column of BFCL {version.name.upper()}", "%"], shares),
        markdown.table(["category", "right", "of", "%", "too long"], categories),
    ]
    if any("irrelevance" in name for name in counts):
        found = [[name.replace("_", " "), str(n)] for name, n in abstentions(judged).items()]
        parts.append(markdown.table(["right abstentions", "answers"], found))
    return "\n\n".join(parts) + "\n"


def _official(style: Style | Official, entry: BfclEntry, answer: Answer) -> Json:
    """Writes an answer for the worker, which knows the forms of the package's decoders."""
    if entry.is_agentic:
        return [[{"seen": style.official(s), "said": s} for s in turn] for turn in answer]
    if entry.is_conversation:
        return [[style.official(step) for step in turn] for turn in answer]
    return style.official(answer)


_FAILURES: Mapping[str, Failure] = {
    "failed": Failure.FORMAT,
    "decoder_failed": Failure.FORMAT,
    "decoder_wrong_output_format": Failure.FORMAT,
    "inference_error": Failure.FORMAT,
    "decoder_success": Failure.OVER_CALLING,
    "force_terminated": Failure.OVER_CALLING,
    "empty_turn_model_response": Failure.MISSING_CALL,
    "no_last_message": Failure.OVER_CALLING,
    "answer_not_found": Failure.WRONG_ANSWER,
    "wrong_func_name": Failure.WRONG_FUNCTION,
    "instance_state_mismatch": Failure.WRONG_STATE,
    "execution_response_mismatch": Failure.WRONG_STATE,
}
"""The failure for the last part of each error type of the package. `type_error` and errors of
arguments are handled separately.
"""


def _failure(
    style: Style | Official, entry: BfclEntry, answer: Answer, verdict: BfclVerdict
) -> Failure | None:
    if verdict.valid:
        return None
    family, _, kind = verdict.type.partition(":")
    if family == "relevance_error":
        return Failure.MISSING_CALL
    if kind == "wrong_count":
        # The decoder of JSON lists gives none for an unreadable answer.
        if (
            isinstance(style, Style)
            and style.form == "json"
            and not verdict.decoded
            and not _is_list(style.official(answer))
        ):
            return Failure.FORMAT
        more = len(verdict.decoded or ()) > len(entry.expected)
        return Failure.OVER_CALLING if more else Failure.MISSING_CALL
    if kind == "cannot_find_match":
        nearest = {_of_type(sub) for sub in _sub_types(verdict.reason)} - {Failure.WRONG_FUNCTION}
        return min(nearest, default=Failure.WRONG_FUNCTION, key=lambda f: f.value)
    if kind == "no_last_message" and answer and answer[-1][-1:] == [""]:  # it said nothing at all
        return Failure.FORMAT
    return _of_type(verdict.type)


def _of_type(error_type: str) -> Failure:
    family, _, kind = error_type.partition(":")
    if family == "type_error":
        return Failure.WRONG_TYPE
    return _FAILURES.get(kind, Failure.WRONG_ARGUMENT)


def _sub_types(reason: Json) -> list[str]:
    """Returns the reason why each of the model's parallel calls does not match."""
    found = filter(is_object, reason)
    return [sub["sub_error_type"] for item in found for sub in item.values()]


def _is_list(text: str) -> bool:
    try:
        read_list(text)
    except CallError:
        return False
    return True


def _offered(entry: BfclEntry) -> str:
    """Lists the functions of a sample, and all that there are after a turn adds some."""
    parts = [results.as_signatures(entry.functions)]
    for turn, addition in entry.additions.items():
        functions = [tool["function"] for tool in addition.tools]
        parts.append(f"From turn {turn + 1} on:\n{results.as_signatures(functions)}")
    return "\n\n".join(parts)


def as_record(sample: Judged, prompt: Sequence[Message]) -> results.AnswerRecord:
    """Returns the record of a sample for readers."""
    entry, verdict = sample.entry, sample.verdict
    reason = verdict.reason if isinstance(verdict.reason, str) else dumps(verdict.reason)
    return {
        "dialogue_id": entry.id,
        "source": entry.category,
        "offered": _offered(entry),
        "input": "\n".join(m["content"] for turn in entry.turns for m in turn),
        "target": dumps(entry.expected) if entry.expected else "",
        "prompt": [m.model_dump(mode="json", exclude_none=True) for m in prompt],
        "response": sample.answer if isinstance(sample.answer, str) else dumps(sample.answer),
        "parsed": verdict.decoded,
        "correct": verdict.valid,
        "failure": sample.failure and sample.failure.value,
        "reason": reason,
        "unreadable": reason if sample.failure is Failure.FORMAT else None,
    }
