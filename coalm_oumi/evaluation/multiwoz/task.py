"""The evaluation function that recipes name: importing this module registers it in Oumi."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oumi.core.registry import register_evaluation_function

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.options import TaskOptions, takes
from coalm_oumi.files.jsontext import write_jsonl
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    # As in coalm_oumi/evaluation/tasks.py, Oumi may be in the middle of its own imports.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

    from coalm_oumi.core.jsontext import Json
    from coalm_oumi.core.usage import Usage
    from coalm_oumi.evaluation.multiwoz.data import Dialogue
    from coalm_oumi.evaluation.multiwoz.database import Database
    from coalm_oumi.llm.chat import Endpoint


class MultiwozOptions(TaskOptions):
    """What to evaluate on and how, as `eval_kwargs.data` of a recipe says it.

    Attributes:
        path: MultiWOZ's archive: a folder, a `.zip`, a JSON file of dialogues, or its address.
        database: The folder of `<domain>_db.json` files, or its address.
        version: The version of MultiWOZ, `2.4` in the paper. It is part of the result's name.
        split: `train`, `validation` or `test`.
        format: How the agent is prompted: `coalm` or `autotod`.
        user: The model that plays the user, as the fields of
            `coalm_oumi.llm.chat.Endpoint`, and its `max_usd`.
            None for the users of the reference dialogues, which alone have states to
            compare with.
        judge: The model that judges beside the deterministic judge, likewise. None for none.
        max_steps: How many answers of the model a turn may take.
        max_turns: After how many turns a simulated user leaves.
        concurrency: How many dialogues are live at a time. Give a remote engine as many
            `num_workers`.
        usd_per_million_input: The price of a million tokens of the agent's prompts, in US dollars.
        usd_per_million_output: The price of a million tokens that the agent writes.
        name: What to add to the result's name, where one evaluation holds several.
    """

    path: str
    database: str
    version: str
    split: str = "test"
    format: str = "coalm"
    user: Mapping[str, Any] | None = None
    judge: Mapping[str, Any] | None = None
    max_steps: int = 5
    max_turns: int = 15
    concurrency: int = 64
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuses values that an option cannot have. YAML reads a version as a number."""
        object.__setattr__(self, "version", str(self.version))
        for name in ("max_steps", "max_turns", "concurrency"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise CoalmError(f"eval_kwargs.data.{name}: expected a number above 0")

    @property
    def label(self) -> str:
        """Names the result: the task, the version, who the user is, and the given name."""
        user = "simulated" if self.user else "corpus"
        parts = ["coalm-oumi/multiwoz", self.version, user, self.name or self.format]
        return "/".join(parts)


@register_evaluation_function("coalm-oumi/multiwoz")
@takes(MultiwozOptions)
@reported_by_oumi
def multiwoz(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """A zero-shot agent that queries and books, on MultiWOZ (Table 2: Success and JGA).

    The agent's answers are recorded as they come, and every dialogue when it ends: the same command
    goes on where a run was killed, and tries again those that broke off.

    Args:
        task_params: Oumi's; `num_samples` takes the first dialogues of the split.
        config: Oumi's; records, transcripts and table are written under its `output_dir`.
        inference_engine: Oumi's, with the agent's model.
        data: The fields of `MultiwozOptions`.

    Returns:
        `success` and `joint_goal_accuracy` first, and the other metrics of `result.summarise`;
        `num_samples`, tokens of agent, user and judge, their cost where prices are given, and the
        path of the table.
    """
    from oumi.core.evaluation.evaluation_result import EvaluationResult

    from coalm_oumi.evaluation.multiwoz import data as dialogues_of
    from coalm_oumi.evaluation.multiwoz import fetch, page, result
    from coalm_oumi.evaluation.multiwoz.database import Database
    from coalm_oumi.files import provenance

    options = MultiwozOptions.from_options(data)
    dialogues = dialogues_of.read(
        fetch.local_file(options.path), version=options.version, split=options.split
    )[: task_params.num_samples]
    database = Database(fetch.local_databases(options.database))
    folder = Path(config.output_dir) / options.label.removeprefix("coalm-oumi/").replace("/", ".")
    records, spent = _lead(dialogues, database, inference_engine, options, config, folder)
    answers = {}
    if options.judge:
        answers, spent["judge"] = _judge(dialogues, records, options, folder)
    judged = [
        result.judge_record(
            dialogue,
            records[dialogue.dialogue_id],
            database,
            answers.get(dialogue.dialogue_id, {}) if options.judge else None,
        )
        for dialogue in dialogues
    ]
    metrics = result.summarise(judged, with_states=not options.user)
    index = page.write(folder, f"{options.label}: {config.model.model_name}", judged, metrics)
    verdicts = folder / "verdicts.jsonl"
    write_jsonl(verdicts, [result.verdict_record(entry) for entry in judged])
    values = {
        **metrics,
        "num_samples": len(judged),
        "version": options.version,
        "spent": spent,
        "table": str(index.relative_to(config.output_dir)),
        "answers": str(verdicts.relative_to(config.output_dir)),
        "task_version": 2,
        "made_with": {
            **provenance.made_with(prompts=prompts.fingerprint_of(_templates())),
            "samples": provenance.samples_hash([d.dialogue_id for d in dialogues]),
        },
    }
    return EvaluationResult(
        task_name=options.label, task_result={"results": {options.label: values}}
    )


def endpoint(options: Mapping[str, Any], place: str) -> tuple[Endpoint, float | None]:
    """Reads a model, and what may be spent on it, from a recipe.

    Args:
        options: The fields of `Endpoint`, and `max_usd`.
        place: `user` or `judge`, for the error.

    Raises:
        CoalmError: The mapping says something else.
    """
    from coalm_oumi.llm.chat import Endpoint

    rest = dict(options)
    max_usd = rest.pop("max_usd", None)
    try:
        return Endpoint(**rest), max_usd
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Endpoint))
        raise CoalmError(
            f"eval_kwargs.data.{place}: expected model and some of {known}, max_usd; {error}"
        ) from error


def _lead(
    dialogues: Sequence[Dialogue],
    database: Database,
    engine: BaseInferenceEngine,
    options: MultiwozOptions,
    config: EvaluationConfig,
    folder: Path,
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Leads the dialogues that the journal does not hold. Returns all records, and the account."""
    from tqdm import tqdm

    from coalm_oumi.core.digest import digest
    from coalm_oumi.core.usage import Usage
    from coalm_oumi.evaluation.multiwoz.agent import FORMATS
    from coalm_oumi.evaluation.multiwoz.result import to_record
    from coalm_oumi.evaluation.multiwoz.rollout import roll_out
    from coalm_oumi.evaluation.multiwoz.user import SimulatedUser, corpus
    from coalm_oumi.files.journal import Journal
    from coalm_oumi.llm.chat import Endpoint
    from coalm_oumi.llm.recorded import RecordedModel, made_by

    if options.format not in FORMATS:
        raise CoalmError(
            f"eval_kwargs.data.format: expected one of {', '.join(FORMATS)}, found {options.format}"
        )
    depends_on = {
        **made_by(config),
        "version": options.version,
        "split": options.split,
        "path": options.path,
        "database": options.database,
        "format": options.format,
        "user": options.user and options.user.get("model"),
        "max_steps": options.max_steps,
        "max_turns": options.max_turns if options.user else None,
        "prompts": _prompts_hash(),
    }
    file = folder / f"dialogues.{digest(depends_on)}.jsonl"
    with (
        RecordedModel(engine, config, folder.name) as model,
        Journal(file, made_by=depends_on) as journal,
    ):
        simulated = None
        if options.user:
            server, max_usd = endpoint(options.user, "user")
            used = _used(record["usage"]["user"] for record in journal.records.values())
            simulated = SimulatedUser(server, options.max_turns, max_usd=max_usd, used=used)
        done = {key for key, record in journal.records.items() if not record["error"]}
        rollouts = roll_out(
            [dialogue for dialogue in dialogues if dialogue.dialogue_id not in done],
            database=database,
            written=FORMATS[options.format],
            ask=model.attempt,
            user=simulated or corpus,
            max_steps=options.max_steps,
            concurrency=options.concurrency,
        )
        names = {dialogue.dialogue_id for dialogue in dialogues}
        with tqdm(total=len(dialogues), initial=len(done & names), desc=options.label) as bar:
            for rollout in rollouts:
                name = rollout.dialogue.dialogue_id
                user_usage = simulated.used_in[name] if simulated else Usage()
                journal.append(name, to_record(rollout, user_usage))
                bar.update()
        records = {name: journal.records[name] for name in names}
    agent = _used(record["usage"]["agent"] for record in records.values())
    priced = Endpoint(
        config.model.model_name,
        usd_per_million_input=options.usd_per_million_input,
        usd_per_million_output=options.usd_per_million_output,
    )
    spent: dict[str, Json] = {"agent": _account(agent, priced)}
    if simulated:
        user = _used(record["usage"]["user"] for record in records.values())
        spent["user"] = _account(user, simulated.endpoint)
    return records, spent


def _judge(
    dialogues: Sequence[Dialogue],
    records: Mapping[str, Json],
    options: MultiwozOptions,
    folder: Path,
) -> tuple[dict[str, dict[str, Any]], Json]:
    """Asks the language model that judges. Returns its answers by dialogue, and the account."""
    from tqdm import tqdm

    from coalm_oumi.core.digest import digest
    from coalm_oumi.evaluation.multiwoz import llm_judge
    from coalm_oumi.evaluation.multiwoz.result import said
    from coalm_oumi.files.journal import Journal

    server, max_usd = endpoint(options.judge or {}, "judge")
    made_by = {"model": server.model, "prompts": _prompts_hash()}
    with Journal(folder / "judgements.jsonl", made_by=made_by) as journal:
        cases = {}
        for dialogue in dialogues:
            turns = said(records[dialogue.dialogue_id])
            # What is judged is part of the key: a dialogue that was led anew is judged anew.
            for domain in dialogue.goals:
                case = llm_judge.Case(dialogue, domain, turns)
                cases[f"{dialogue.dialogue_id}/{domain}/{digest(turns)}"] = case
        keys = {id(case): key for key, case in cases.items()}
        done = {key for key, record in journal.records.items() if not record["error"]}
        open_cases = [case for key, case in cases.items() if key not in done]
        used = _used(record["usage"] for record in journal.records.values())
        with tqdm(total=len(cases), initial=len(cases) - len(open_cases), desc="judge") as bar:

            def answered(
                case: llm_judge.Case, answers: Mapping[str, str] | str, usage: Usage
            ) -> None:
                found = answers if isinstance(answers, Mapping) else None
                error = answers if isinstance(answers, str) else ""
                record = {"answers": found, "error": error, "usage": asdict(usage)}
                journal.append(keys[id(case)], record)
                bar.update()

            llm_judge.ask(open_cases, server, answered, max_usd=max_usd, used=used)
        errors = [record["error"] for key in cases if (record := journal.records[key])["error"]]
        if cases and len(errors) == len(cases):
            raise CoalmError(f"the judge {server.model} answers nothing: {errors[0]}")
        answers: dict[str, dict[str, Any]] = {}
        for key, case in cases.items():
            if (found := journal.records[key]["answers"]) is not None:
                answers.setdefault(case.dialogue.dialogue_id, {})[case.domain] = found
        used = _used(record["usage"] for record in journal.records.values())
        return answers, _account(used, server)


def _used(usages: Iterable[Mapping[str, int]]) -> Usage:
    from coalm_oumi.core.usage import Usage

    return sum((Usage(**usage) for usage in usages), Usage())


def _account(usage: Usage, server: Endpoint) -> Json:
    return {**asdict(usage), "usd": server.usd(usage)}


def _prompts_hash() -> str:
    """Identifies the templates that this task renders: others may change under a run."""
    return prompts.fingerprint(*_templates())


def _templates() -> list[str]:
    return [name for name in prompts.names() if name == "alpaca" or name.startswith("multiwoz_")]
