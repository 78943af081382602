"""The evaluation functions that recipes name: importing this module registers them in Oumi."""
# pyright: standard

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oumi.core.registry import register_evaluation_function

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.evaluation import results, styles
from coalm_oumi.evaluation.api_bank import data as api_bank_data
from coalm_oumi.evaluation.api_bank import metrics as api_bank_metrics
from coalm_oumi.evaluation.api_bank import prompt
from coalm_oumi.evaluation.api_bank.options import ApiBankOptions
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.options import takes
from coalm_oumi.llm.recorded import Question, RecordedModel

if TYPE_CHECKING:
    # Oumi loads this module during its own imports. At that time, importing more of Oumi than
    # registering needs could close an import cycle.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

VERSION = 2
"""Raised when scores may move. The change log in this folder's README says what changed."""


@register_evaluation_function("coalm-oumi/api_bank")
@takes(ApiBankOptions)
@reported_by_oumi
def api_bank(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """Function calling on one level of API-Bank, zero-shot (paper, Table 3).

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        data: The fields of `ApiBankOptions`.

    Returns:
        The columns of Table 3 (`rouge_l`, `rouge_1`, `rouge_2`, `bleu_4`, as LLaMA-Factory computes
        them) and the same of words (`word_rouge_l`, ...); Hammer's `name_precision`, `name_recall`,
        `name_f1` and the same of arguments (`argument_f1`, ...); `ast_match`, the share of
        answers with exactly the right calls; `readable`. Each is in [0, 1], a hundredth of what
        the table prints. Also `num_samples`.
    """
    options = ApiBankOptions.from_options(data)
    check_model(config, options, options.label)
    style = prompt.by_name(options.style)
    if style.native:
        styles.check_engine(styles.STYLES["native"], config)
        styles.check_template(styles.STYLES["native"], inference_engine)
    file = api_bank_data.locate(options.path)
    entries = api_bank_data.read(file)
    if task_params.num_samples is not None and task_params.num_samples < len(entries):
        entries = random.Random(0).sample(entries, task_params.num_samples)
    questions = [
        Question(
            key=entry.id,
            messages=style.ask(entry),
            tools=prompt.tools(entry) if style.native else None,
        )
        for entry in entries
    ]
    with RecordedModel(inference_engine, config, results.file_name(options.label)) as model:
        if style.native:
            model.check_tools()
        texts = [style.read(text) or text for text in model.ask(questions)]
    judged = [
        api_bank_metrics.judge(text, entry) for text, entry in zip(texts, entries, strict=True)
    ]
    records = [
        api_bank_metrics.as_record(entry, question.messages, text, one)
        for entry, question, text, one in zip(entries, questions, texts, judged, strict=True)
    ]
    metrics = api_bank_metrics.metrics(judged)
    result = results.write(
        options.label, metrics, config, records, version=VERSION, templates=prompt.TEMPLATES
    )
    result.task_result["results"][options.label]["style"] = style.name
    return result
