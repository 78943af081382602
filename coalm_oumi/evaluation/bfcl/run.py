"""One evaluation on BFCL: questions, answers, verdicts."""

import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Message

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, is_list, is_object, unfenced
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.bfcl import official as official_handlers
from coalm_oumi.evaluation.bfcl.client import ENCODER, BfclEntry, BfclVerdict, BfclWorker
from coalm_oumi.evaluation.bfcl.dialogue import Asking, converse, opening
from coalm_oumi.evaluation.bfcl.execution import Executor
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.failures import Failure
from coalm_oumi.evaluation.styles import Style, read_list
from coalm_oumi.files.journal import Journal
from coalm_oumi.files.jsontext import write_jsonl
from coalm_oumi.formats import calls, native
from coalm_oumi.formats.calls import CallError
from coalm_oumi.llm.recorded import Question, RecordedModel, made_by
from coalm_oumi.rendering import markdown

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine

OFFICIAL_MODELS: Mapping[str, str] = {
    "bfcl": "uiuc-convai_CoALM-8B",
    "coalm": "MadeAgents_Hammer2.1-7b",
    "native": "gpt-4o-2024-11-20-FC",
}
"""For each prompt style, the folder name of the entry of BFCL's model table that reads our result
files."""


Answer = Json
"""An answer: a text, or for a conversation the texts of each step of each turn. With the style
`official`, each text is what the handler writes into BFCL's result files."""

Answered = tuple[BfclEntry, Answer]
"""A sample as it was asked, and its answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Samples, and the model's answers.

    Attributes:
        entries: The samples as they were asked.
        answers: One answer per sample.
        sizes: The number of samples of each category in the benchmark.
        prompts: The first messages that were sent for each sample.
        too_long: The number of samples of each category whose prompt became longer than the model's
            context. From then on their answers count as empty.
    """

    entries: Sequence[BfclEntry]
    answers: Sequence[Answer]
    sizes: Mapping[str, int]
    prompts: Sequence[Sequence[Message]]
    too_long: Mapping[str, int]


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


def categories(version: Version, names: str | Sequence[str], style: Style | Official) -> list[str]:
    """Returns the categories that names of categories and groups stand for, each once.

    Categories of a group that vary BFCL's own prompt are left out if the style is another, as the
    package leaves them out for models that are given tools.

    Raises:
        CoalmError: There is no category of that name, or it cannot be asked.
    """
    groups = version.groups
    chosen: dict[str, None] = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in groups and name not in groups["all"]:
            known = ", ".join([*groups, *groups["all"]])
            title = version.name.upper()
            raise CoalmError(f"BFCL {title} has no category {name!r}; use some of {known}")
        if not _varies_prompt(style) and name in version.own_prompt:
            raise CoalmError(
                f"the category {name} varies BFCL's own prompt; set `style: bfcl`, or leave "
                "the category out"
            )
        found = groups.get(name, (name,))
        left_out = () if _varies_prompt(style) else version.own_prompt
        chosen |= dict.fromkeys(category for category in found if category not in left_out)
    for category in chosen:
        variable = version.needs.get(category)
        if variable and not os.environ.get(variable):
            raise CoalmError(
                f"{category} needs the environment variable {variable}; set it, or name only "
                "categories that do not need it, such as [single_turn, multi_turn, memory]"
            )
    return list(chosen)


def _varies_prompt(style: Style | Official) -> bool:
    """Returns True if the style writes BFCL's own prompt, which some categories vary."""
    return style.varies_prompt if isinstance(style, Official) else style.name == "bfcl"


def ask(
    engine: "BaseInferenceEngine",
    config: "EvaluationConfig",
    version: Version,
    style: Style | Official,
    names: Sequence[str],
    num_samples: int | None,
    encoder: Path | None = None,
) -> Asked:
    """Asks the model, and writes BFCL's result files under `<output_dir>/bfcl/result`.

    `bfcl evaluate` with `BFCL_PROJECT_ROOT=<output_dir>/bfcl` reads them too, where every category
    is complete.

    Args:
        engine: Oumi's.
        config: Oumi's.
        version: The version of the benchmark.
        style: How the model is asked.
        names: Categories, or groups of them.
        num_samples: The size of a seeded choice from each category; None for all. Of
            `format_sensitivity`, this many questions, each in all its forms.
        encoder: The folder of the model by which a vector memory finds what it holds.

    Raises:
        CoalmError: The environment of bfcl-eval or the encoder is unavailable, or the engine or the
            worker failed.
    """
    chosen = categories(version, names, style)
    encoding = [name for name in chosen if name in version.encoders]
    keys = {version.needs[name] for name in chosen if name in version.needs}
    if encoder and not encoder.is_dir():
        raise CoalmError(f"eval_kwargs.data.encoder {encoder}: no such folder")
    with BfclWorker(version, extras=bool(encoding), encoder=encoder, keys=keys) as worker:
        for name in encoding:
            _check(worker, name, version.encoders[name])
        complete = {name: worker.questions(name) for name in chosen}
        entries = [e for found in complete.values() for e in _choice(found, num_samples)]
        searches = any(entry.kind == "web_search" for entry in entries)
        with _asking(engine, config, worker, style, searches=searches) as asking:
            told = _tell(asking, entries)
            answered = _answer(asking, entries)
            asking.execute.report()
            # A key names the category and the index first. The memories' conversations count too.
            too_long = {tuple(key.split("/")[:2]) for key in asking.model.too_long}
        questions = _first_questions(worker, style, [entry for entry, _ in answered])
    write_results(Path(config.output_dir) / "bfcl", version, style, [*answered, *told])
    return Asked(
        entries=[entry for entry, _ in answered],
        answers=[answer for _, answer in answered],
        sizes={name: len(found) for name, found in complete.items()},
        prompts=[question.messages for question in questions],
        too_long=Counter(category for category, _ in too_long),
    )


@contextmanager
def _asking(
    engine: "BaseInferenceEngine",
    config: "EvaluationConfig",
    worker: BfclWorker,
    style: Style | Official,
    *,
    searches: bool,
) -> Generator[Asking]:
    """Opens the records of answers and, where samples search the web, of what it gave."""
    label = f"bfcl_{worker.version.name}"
    depends_on = made_by(config)
    web = Path(config.output_dir) / "raw" / f"{label}.web.{digest(depends_on)}.jsonl"
    with (
        official_handlers.prepared(style, engine, config)
        if isinstance(style, Official)
        else nullcontext(),
        RecordedModel(engine, config, label) as model,
        Journal(web, made_by=depends_on) if searches else nullcontext() as journal,
    ):
        if style.tools if isinstance(style, Official) else style.native:
            model.check_tools()
        yield Asking(model, worker, Executor(worker, journal), style)


def _first_questions(
    worker: BfclWorker, style: Style | Official, entries: Sequence[BfclEntry]
) -> list[Question]:
    """Returns what the model is asked first for each sample."""
    asked: list[tuple[Sequence[Message], Sequence[Json] | None]] = []
    if isinstance(style, Official):
        for request in worker.ask(style.model, entries):
            asked.append((style.messages(request), request.get("tools")))
    else:
        for entry in entries:
            asked.append((opening(entry, style), entry.tools if style.native else None))
    return [
        Question(f"{entry.category}/{entry.index}", messages, tools)
        for entry, (messages, tools) in zip(entries, asked, strict=True)
    ]


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


def _check(worker: BfclWorker, category: str, class_name: str) -> None:
    try:
        worker.check(class_name)
    except CoalmError as error:
        raise CoalmError(
            f"{category} needs the model sentence-transformers/{ENCODER}: {error}; allow its "
            "download, give its folder as eval_kwargs.data.encoder, or leave the category out"
        ) from error


def _choice(entries: Sequence[BfclEntry], count: int | None) -> list[BfclEntry]:
    questions: dict[str, list[BfclEntry]] = defaultdict(list)
    for entry in entries:  # one question in several forms, or one of each; ids may be shared
        name = entry.id.split(":")[2] if entry.prompt_form else str(entry.index)
        questions[name].append(entry)
    found = list(questions.values())
    if count is not None and count < len(found):
        chosen = random.Random(0).sample(range(len(found)), count)
        found = [found[index] for index in sorted(chosen)]
    return [entry for forms in found for entry in forms]


def _tell(asking: Asking, entries: Sequence[BfclEntry]) -> list[Answered]:
    """Holds the conversations that the samples remember, those of a scenario in their order."""
    wanted = {(entry.category, entry.scenario) for entry in entries if entry.has_memory}
    chains: dict[tuple[str, str], list[BfclEntry]] = defaultdict(list)
    for category in sorted({category for category, _ in wanted}):
        for entry in asking.worker.questions(f"{category}_prereq"):
            if (category, entry.scenario) in wanted:
                chains[category, entry.scenario].append(entry)
    told: list[Answered] = []
    for place in range(max(map(len, chains.values()), default=0)):
        stage = [chain[place] for chain in chains.values() if place < len(chain)]
        told += converse(asking, stage)
    return told


def _answer(asking: Asking, entries: Sequence[BfclEntry]) -> list[Answered]:
    """Returns the samples as they were asked, in their order, and what the model answered."""
    alone = [entry for entry in entries if not entry.is_conversation]
    single = zip(alone, _single_turns(asking, alone), strict=True)
    several = [entry for entry in entries if entry.is_conversation]
    talks = iter(converse(asking, several) if several else [])
    return [next(talks if entry.is_conversation else single) for entry in entries]


def _single_turns(asking: Asking, entries: Sequence[BfclEntry]) -> list[Answer]:
    """Asks samples of one turn."""
    style, worker = asking.style, asking.worker
    answers = asking.model.ask(_first_questions(worker, style, entries))
    if not isinstance(style, Official):
        return list(answers)
    steps = [
        (entry, "answer", style.written(answer))
        for entry, answer in zip(entries, answers, strict=True)
    ]
    return [reply["result"] for reply in worker.step(style.model, steps)]


def _official(style: Style | Official, entry: BfclEntry, answer: Answer) -> Json:
    """Writes an answer for the worker, which knows the forms of the package's decoders."""
    if entry.is_agentic:
        return [[{"seen": style.official(s), "said": s} for s in turn] for turn in answer]
    if entry.is_conversation:
        return [[style.official(step) for step in turn] for turn in answer]
    return style.official(answer)


def write_results(
    root: Path,
    version: Version,
    style: Style | Official,
    answered: Sequence[Answered],
) -> None:
    """Writes BFCL's result files, `result/<model>/.../BFCL_<version>_<category>_result.json`."""
    rows: dict[str, list[Json]] = defaultdict(list)
    for entry, answer in answered:
        result = answer
        if isinstance(style, Style) and style.native:
            result = _as_tool_calls(style, answer)
        rows[entry.category].append({"id": entry.id, "result": result})
    model = style.folder if isinstance(style, Official) else OFFICIAL_MODELS[style.name]
    folder = root / "result" / model
    for category, written in rows.items():
        file = f"BFCL_{version.name}_{category}_result.json"
        write_jsonl(folder / version.folder(category) / file, written)


def _as_tool_calls(style: Style, answer: Answer) -> Json:
    """Writes calls as bfcl-eval records those of an API. A message stays as it is."""
    if is_list(answer):
        return [_as_tool_calls(style, inner) for inner in answer]
    official = style.official(answer)
    if not official:
        return answer
    return [{call.name: dumps(dict(call.arguments))} for call in calls.parse_json(official)]


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
"""By the last part of the package's error types; `type_error` and those of arguments are apart."""


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
