"""The evaluation function that recipes name: importing this module registers it in Oumi."""
# pyright: standard

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oumi.core.registry import register_evaluation_function

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.multiwoz import data as dialogues_of
from coalm_oumi.evaluation.multiwoz import fetch
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.models import Account
from coalm_oumi.evaluation.multiwoz.options import MultiwozOptions
from coalm_oumi.evaluation.options import takes
from coalm_oumi.files.jsontext import write_jsonl

if TYPE_CHECKING:
    # Oumi loads this module during its own imports. At that time, importing more of Oumi than
    # registering needs could close an import cycle.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

    from coalm_oumi.evaluation.multiwoz.result import JudgedDialogue

VERSION = 3
"""Raised when scores may move. The change log in this folder's README says what changed."""


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

    The agent's answers are recorded as they come, and every dialogue when it ends. If a run is
    killed, the same command resumes it, and retries the dialogues that broke off.

    Args:
        task_params: Oumi's; `num_samples` takes the first dialogues of the split.
        config: Oumi's; records, transcripts and table are written under its `output_dir`.
        inference_engine: Oumi's, with the agent's model.
        data: The fields of `MultiwozOptions`.

    Returns:
        `success` and `joint_goal_accuracy` first, and the other metrics of `result.summarise`;
        `num_samples`, tokens of agent, user and judge, their cost if prices are given, and the
        path of the table.
    """
    # These import `coalm_oumi.agent`, which has Oumi load this module. Whoever imports that package
    # first would find it half imported here.
    from coalm_oumi.evaluation.multiwoz import lead, llm_judge, result

    options = MultiwozOptions.from_options(data)
    check_model(config, options, options.label)
    dialogues = dialogues_of.read(
        fetch.local_file(options.path), version=options.version, split=options.split
    )[: task_params.num_samples]
    database = Database(fetch.local_databases(options.database))
    folder = Path(config.output_dir) / results.file_name(options.label)
    records, spent = lead.lead(dialogues, database, inference_engine, options, config, folder)
    answers = None
    if options.judge:
        answers, spent["judge"] = llm_judge.judge(dialogues, records, options.judge, folder)
    judged: list[JudgedDialogue] = []
    for dialogue in dialogues:
        name = dialogue.dialogue_id
        by_llm = None if answers is None else answers.get(name, {})
        judged.append(result.judge_record(dialogue, records[name], database, by_llm))
    return _written(options, config, folder, dialogues, judged, spent)


def _written(
    options: MultiwozOptions,
    config: EvaluationConfig,
    folder: Path,
    dialogues: Sequence[Dialogue],
    judged: Sequence[JudgedDialogue],
    spent: Mapping[str, Account],
) -> EvaluationResult:
    """Writes pages and verdicts, and returns the metrics."""
    from coalm_oumi.evaluation.multiwoz import lead, page, result  # see above

    metrics = result.summarise(judged, with_states=not options.user)
    names = [name for name in (config.model.model_name, config.model.adapter_model) if name]
    title = f"{options.label}: {' + '.join(names)}"
    index = page.write(folder, title, judged, metrics)
    verdicts = folder / "verdicts.jsonl"
    write_jsonl(verdicts, [result.verdict_record(entry) for entry in judged])
    values = {
        **metrics,
        "num_samples": len(judged),
        "version": options.version,
        "style": options.format,
        "spent": spent,
        "table": str(index.relative_to(config.output_dir)),
        "answers": str(verdicts.relative_to(config.output_dir)),
        "task_version": VERSION,
        "made_with": results.made_with(lead.templates(), [d.dialogue_id for d in dialogues]),
    }
    return results.for_oumi(options.label, values)
