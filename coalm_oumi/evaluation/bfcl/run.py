"""One evaluation on BFCL V3: questions, answers, verdicts, scores."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coalm_oumi import calls
from coalm_oumi.calls import CallError
from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation.bfcl import scores
from coalm_oumi.evaluation.bfcl.client import Entry, Verdict, Worker
from coalm_oumi.evaluation.bfcl.dialogue import converse, opening
from coalm_oumi.evaluation.failures import Failure
from coalm_oumi.evaluation.inference import Question, RecordedModel
from coalm_oumi.evaluation.styles import Style
from coalm_oumi.jsontext import Json, dumps, write_jsonl

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine

OFFICIAL_MODELS: Mapping[str, str] = {
    "bfcl": "uiuc-convai_CoALM-8B",
    "coalm": "MadeAgents_Hammer2.1-7b",
    "native": "gpt-4o-2024-11-20-FC",
}
"""For each prompt style the entry of BFCL's model table that reads our result files, as its folder
is named."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A sample, what the model wrote, and what the official checker says.

    Attributes:
        entry: The sample.
        answer: The text; for a multi-turn sample the texts of each step of each turn.
        verdict: The official verdict.
        failure: The type of failure; None for a right answer.
    """

    entry: Entry
    answer: Json
    verdict: Verdict
    failure: Failure | None


def categories(names: str | Sequence[str]) -> list[str]:
    """Returns the categories that names of categories and groups stand for, each once.

    Raises:
        CoalmError: There is none of that name.
    """
    chosen: dict[str, None] = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in scores.GROUPS and name not in scores.GROUPS["all"]:
            known = [*scores.GROUPS, *scores.GROUPS["all"]]
            raise CoalmError(f"BFCL V3 has no category {name!r}; use some of {', '.join(known)}")
        chosen |= dict.fromkeys(scores.GROUPS.get(name, (name,)))
    return list(chosen)


def evaluate(
    engine: "BaseInferenceEngine",
    config: "EvaluationConfig",
    style: Style,
    names: Sequence[str],
    num_samples: int | None,
) -> tuple[list[Judged], dict[str, int]]:
    """Asks the model and judges its answers.

    Writes BFCL's result files under `<output_dir>/bfcl/result`, so that `bfcl evaluate` with
    `BFCL_PROJECT_ROOT=<output_dir>/bfcl` reads them too, where every category is complete.

    Args:
        engine: Oumi's.
        config: Oumi's.
        style: How the model is asked.
        names: Categories, or groups of them.
        num_samples: A seeded choice of so many of each category; None for all.

    Returns:
        The judged samples, and the size of each category.

    Raises:
        CoalmError: The environment of bfcl-eval cannot be had, or the engine or the checker failed.
    """
    with Worker() as worker:
        complete = {name: worker.questions(name) for name in categories(names)}
        entries = [e for found in complete.values() for e in _choice(found, num_samples)]
        with RecordedModel(engine, config, "bfcl_v3") as model:
            answers = _ask(model, worker, style, entries)
    folder = Path(config.output_dir) / "bfcl"
    write_results(folder, style, entries, answers)
    return judge(style, entries, answers), {name: len(found) for name, found in complete.items()}


def judge(style: Style, entries: Sequence[Entry], answers: Sequence[Json]) -> list[Judged]:
    """Has answers judged by the official checker.

    Raises:
        CoalmError: The environment of bfcl-eval cannot be had, or the checker failed.
    """
    rows: dict[str, list[tuple[int, Json]]] = defaultdict(list)
    for entry, answer in zip(entries, answers, strict=True):
        rows[entry.category].append((entry.index, _official(style, entry, answer)))
    # A process of its own: environments of multi-turn samples must be fresh.
    with Worker() as worker:
        verdicts = {
            (v.category, v.index): v
            for v in worker.score(style.form, rows, without_dots=style.native)
        }
    judged = []
    for entry, answer in zip(entries, answers, strict=True):
        verdict = verdicts[entry.category, entry.index]
        judged.append(Judged(entry, answer, verdict, _failure(style, entry, answer, verdict)))
    return judged


def accuracies(judged: Sequence[Judged]) -> dict[str, float]:
    """Returns the share of right answers in each category."""
    found: dict[str, list[bool]] = defaultdict(list)
    for sample in judged:
        found[sample.entry.category].append(sample.verdict.valid)
    return {category: sum(valid) / len(valid) for category, valid in found.items()}


def summary(judged: Sequence[Judged], columns: Mapping[str, float]) -> str:
    """Writes Table 4's columns and each category as Markdown."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for sample in judged:
        counts[sample.entry.category].append(sample.verdict.valid)
    names = ("overall", "non_live_ast", "live", "multi_turn", "relevance", "irrelevance")
    lines = ["| column of Table 4 | % |", "| --- | ---: |"]
    lines += [
        f"| {name} | {100 * columns[name]:.2f} |" if name in columns else f"| {name} | incomplete |"
        for name in names
    ]
    lines += [f"| {scores.RETIRED} | retired |", "", "| category | right | of | % |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} | {sum(valid)} | {len(valid)} | {100 * sum(valid) / len(valid):.2f} |"
        for name, valid in counts.items()
    ]
    return "\n".join(lines) + "\n"


def _choice(entries: Sequence[Entry], count: int | None) -> list[Entry]:
    if count is None or count >= len(entries):
        return list(entries)
    chosen = random.Random(0).sample(range(len(entries)), count)
    return [entries[index] for index in sorted(chosen)]


def _ask(
    model: RecordedModel, worker: Worker, style: Style, entries: Sequence[Entry]
) -> list[Json]:
    answers: dict[int, Json] = {}
    single = [n for n, entry in enumerate(entries) if not entry.is_multi_turn]
    questions = [
        Question(
            key=f"{entries[n].category}/{entries[n].index}",
            messages=opening(entries[n], style),
            tools=entries[n].tools if style.native else None,
        )
        for n in single
    ]
    answers |= zip(single, model.ask(questions), strict=True)
    several = [n for n, entry in enumerate(entries) if entry.is_multi_turn]
    if several:
        talks = converse(model, worker, style, [entries[n] for n in several])
        answers |= zip(several, talks, strict=True)
    return [answers[n] for n in range(len(entries))]


def _official(style: Style, entry: Entry, answer: Json) -> Json:
    """Writes an answer as it stands in a result file."""
    if entry.is_multi_turn:
        return [[style.official(step) for step in turn] for turn in answer]
    if style.form == "bracket" and entry.category in ("java", "javascript"):
        return answer  # read by a grammar of its language, which evaluates nothing
    return style.official(answer)


def write_results(
    folder: Path, style: Style, entries: Sequence[Entry], answers: Sequence[Json]
) -> None:
    """Writes BFCL's result files, `result/<model>/BFCL_v3_<category>_result.json`."""
    rows: dict[str, list[Json]] = defaultdict(list)
    for entry, answer in zip(entries, answers, strict=True):
        result = _official(style, entry, answer)
        if style.native:
            result = (
                [[_as_tool_calls(step) for step in turn] for turn in result]
                if entry.is_multi_turn
                else _as_tool_calls(result)
            )
        rows[entry.category].append({"id": entry.id, "result": result})
    for category, written in rows.items():
        file = folder / "result" / OFFICIAL_MODELS[style.name] / f"BFCL_v3_{category}_result.json"
        write_jsonl(file, written)


def _as_tool_calls(official: str) -> Json:
    """Writes calls as bfcl-eval records those of an API."""
    if not official:
        return official
    return [{call.name: dumps(dict(call.arguments))} for call in calls.parse_json(official)]


_FAILURES: Mapping[str, Failure] = {
    "decoder_failed": Failure.FORMAT,
    "decoder_wrong_output_format": Failure.FORMAT,
    "inference_error": Failure.FORMAT,
    "decoder_success": Failure.OVER_CALLING,
    "force_terminated": Failure.OVER_CALLING,
    "empty_turn_model_response": Failure.MISSING_CALL,
    "wrong_func_name": Failure.WRONG_FUNCTION,
    "instance_state_mismatch": Failure.WRONG_STATE,
    "execution_response_mismatch": Failure.WRONG_STATE,
}
"""By the last part of the package's error types; `type_error` and those of arguments are apart."""


def _failure(style: Style, entry: Entry, answer: Json, verdict: Verdict) -> Failure | None:
    if verdict.valid:
        return None
    family, _, kind = verdict.type.partition(":")
    if family == "relevance_error":
        return Failure.MISSING_CALL
    if kind == "wrong_count":
        # The decoder of JSON lists gives none for an unreadable answer.
        if not verdict.decoded and not _readable(style, answer):
            return Failure.FORMAT
        more = len(verdict.decoded) > len(entry.expected)
        return Failure.OVER_CALLING if more else Failure.MISSING_CALL
    if kind == "cannot_find_match":
        nearest = {_of_type(sub) for sub in _sub_types(verdict.reason)} - {Failure.WRONG_FUNCTION}
        return min(nearest, default=Failure.WRONG_FUNCTION, key=lambda f: f.value)
    return _of_type(verdict.type)


def _of_type(error_type: str) -> Failure:
    family, _, kind = error_type.partition(":")
    if family == "type_error":
        return Failure.WRONG_TYPE
    return _FAILURES.get(kind, Failure.WRONG_ARGUMENT)


def _sub_types(reason: Json) -> list[str]:
    """Returns why each of the model's parallel calls does not match."""
    found = (item for item in reason if isinstance(item, dict))
    return [sub["sub_error_type"] for item in found for sub in item.values()]


def _readable(style: Style, answer: str) -> bool:
    try:
        style.read(answer)
    except CallError:
        return False
    return True


def as_record(sample: Judged, style: Style) -> Json:
    """Returns what is written of a sample for people to look at."""
    entry, verdict = sample.entry, sample.verdict
    reason = verdict.reason if isinstance(verdict.reason, str) else dumps(verdict.reason)
    return {
        "dialogue_id": entry.id,
        "source": entry.category,
        "input": "\n".join(m["content"] for turn in entry.turns for m in turn),
        "target": dumps(entry.expected) if entry.expected else "",
        "prompt": [m.model_dump(mode="json", exclude_none=True) for m in opening(entry, style)],
        "response": sample.answer if isinstance(sample.answer, str) else dumps(sample.answer),
        "parsed": verdict.decoded,
        "correct": verdict.valid,
        "failure": sample.failure and sample.failure.value,
        "reason": reason,
        "unreadable": reason if sample.failure is Failure.FORMAT else None,
    }
