"""Asks a model BFCL's questions, and writes the official result files."""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Message

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, is_list
from coalm_oumi.evaluation.bfcl import official as official_handlers
from coalm_oumi.evaluation.bfcl.client import ENCODER, BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.dialogue import Participants, converse, opening
from coalm_oumi.evaluation.bfcl.execution import Executor
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.styles import Style
from coalm_oumi.files.journal import Journal
from coalm_oumi.files.jsontext import write_jsonl
from coalm_oumi.formats import calls
from coalm_oumi.llm.recorded import Question, RecordedModel, made_by

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
        with _participants(engine, config, worker, style, searches=searches) as participants:
            told = _tell(participants, entries)
            answered = _answer(participants, entries)
            participants.execute.report()
            # A key names the category and the index first. The memories' conversations count too.
            too_long = {tuple(key.split("/")[:2]) for key in participants.model.too_long}
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
def _participants(
    engine: "BaseInferenceEngine",
    config: "EvaluationConfig",
    worker: BfclWorker,
    style: Style | Official,
    *,
    searches: bool,
) -> Generator[Participants]:
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
        yield Participants(model, worker, Executor(worker, journal), style)


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


def _tell(participants: Participants, entries: Sequence[BfclEntry]) -> list[Answered]:
    """Holds the conversations that the samples remember, those of a scenario in their order."""
    wanted = {(entry.category, entry.scenario) for entry in entries if entry.has_memory}
    chains: dict[tuple[str, str], list[BfclEntry]] = defaultdict(list)
    for category in sorted({category for category, _ in wanted}):
        for entry in participants.worker.questions(f"{category}_prereq"):
            if (category, entry.scenario) in wanted:
                chains[category, entry.scenario].append(entry)
    told: list[Answered] = []
    for place in range(max(map(len, chains.values()), default=0)):
        stage = [chain[place] for chain in chains.values() if place < len(chain)]
        told += converse(participants, stage)
    return told


def _answer(participants: Participants, entries: Sequence[BfclEntry]) -> list[Answered]:
    """Returns the samples as they were asked, in their order, and what the model answered."""
    alone = [entry for entry in entries if not entry.is_conversation]
    single = iter(list(zip(alone, _single_turns(participants, alone), strict=True)))
    several = [entry for entry in entries if entry.is_conversation]
    talks = iter(converse(participants, several) if several else [])
    return [next(talks if entry.is_conversation else single) for entry in entries]


def _single_turns(participants: Participants, entries: Sequence[BfclEntry]) -> list[Answer]:
    """Asks samples of one turn."""
    style, worker = participants.style, participants.worker
    answers = participants.model.ask(_first_questions(worker, style, entries))
    if not isinstance(style, Official):
        return list(answers)
    steps = [
        (entry, "answer", style.written(answer))
        for entry, answer in zip(entries, answers, strict=True)
    ]
    return [reply["result"] for reply in worker.step(style.model, steps)]


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
