"""The evaluation functions that recipes name: importing this module registers them in Oumi."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oumi.core.registry import register_evaluation_function

from coalm_oumi import calls
from coalm_oumi.calls import FunctionCall
from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation import api_bank as api_bank_data
from coalm_oumi.evaluation import api_bank_metrics, generation, results, styles
from coalm_oumi.evaluation.bfcl import run as bfcl
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.failures import classify
from coalm_oumi.evaluation.generation import HeldOut
from coalm_oumi.evaluation.inference import Question, RecordedModel
from coalm_oumi.evaluation.options import ApiBankOptions, BfclOptions
from coalm_oumi.evaluation.states import DialogueState, joint_goal_accuracy, parse_state, slot_f1
from coalm_oumi.files import write_text
from coalm_oumi.jsontext import Json
from coalm_oumi.sample import Sample

if TYPE_CHECKING:
    # Oumi loads this module in the middle of its own imports. What is imported of Oumi here at that
    # time can close one of its import circles, so it stays at what registering takes.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

_Read = TypeVar("_Read")


@register_evaluation_function("coalm-oumi/state_tracking")
def state_tracking(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """Single-turn dialogue state tracking on held-out TOD samples of a mixture.

    Args:
        task_params: Oumi's; `num_samples` limits the samples.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        data: Which samples: the fields of `HeldOut`.

    Returns:
        `joint_goal_accuracy`, `slot_precision`, `slot_recall`, `slot_f1`, `readable` (the share of
        answers that are a state at all), each in [0, 1], and `num_samples`.
    """
    held_out = HeldOut.from_options(data)
    label = held_out.label("coalm-oumi/state_tracking")
    samples = held_out.samples("tod")[: task_params.num_samples]
    expected = [_target(sample, held_out.dataset_path) for sample in samples]
    answers = generation.ask(inference_engine, config, results.file_name(label), samples)
    read = [_read(parse_state, answer.response) for answer in answers]
    predicted = [state for state, _ in read]
    precision, recall, f1 = slot_f1(predicted, expected)
    metrics = {
        "joint_goal_accuracy": joint_goal_accuracy(predicted, expected),
        "slot_precision": precision,
        "slot_recall": recall,
        "slot_f1": f1,
    }
    records = [
        results.record(answer, correct=state == truth, unreadable=reason)
        for answer, (state, reason), truth in zip(answers, read, expected, strict=True)
    ]
    return _on_held_out(label, metrics, config, records, held_out)


@register_evaluation_function("coalm-oumi/function_calling")
def function_calling(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """Function calling on held-out LA samples of a mixture whose target is a list of calls.

    Args:
        task_params: Oumi's; `num_samples` limits the samples.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        data: Which samples: the fields of `HeldOut`.

    Returns:
        `ast_match` (every call right and none beside), `readable` (the share of answers that are
        calls at all), each in [0, 1], and `num_samples`.
    """
    held_out = HeldOut.from_options(data)
    targets = [(sample, _calls_or_none(sample.output)) for sample in held_out.samples("la")]
    asked = [(sample, target) for sample, target in targets if target is not None]
    asked = asked[: task_params.num_samples]
    if not asked:
        raise CoalmError(
            f"{held_out.dataset_path}: no held-out sample whose target is a list of calls"
        )
    label = held_out.label("coalm-oumi/function_calling")
    samples = [sample for sample, _ in asked]
    answers = generation.ask(inference_engine, config, results.file_name(label), samples)
    records = []
    for answer, (_, target) in zip(answers, asked, strict=True):
        guess, reason = _read(calls.parse_json, answer.response)
        failure = classify(guess, target)
        records.append(
            results.record(
                answer, correct=failure is None, unreadable=reason, parsed=guess, failure=failure
            )
        )
    metrics = {"ast_match": results.share_correct(records)}
    return _on_held_out(label, metrics, config, records, held_out)


@register_evaluation_function("coalm-oumi/api_bank")
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
        answers with exactly the right calls; `readable`. Each lies in [0, 1], a hundredth of what
        the table prints. Also `num_samples`.
    """
    options = ApiBankOptions.from_options(data)
    style = styles.by_name(options.style)
    _check_engine(style, config)
    file = api_bank_data.locate(options.path)
    entries = api_bank_data.read(file)
    if task_params.num_samples is not None and task_params.num_samples < len(entries):
        entries = random.Random(0).sample(entries, task_params.num_samples)
    label = f"coalm-oumi/api_bank/{file.stem}"
    questions = [
        Question(
            key=entry.id,
            messages=style.ask(entry.prompt()),
            tools=entry.prompt().tools if style.native else None,
        )
        for entry in entries
    ]
    with RecordedModel(inference_engine, config, results.file_name(label)) as model:
        texts = [style.official(text) or text for text in model.ask(questions)]
    judged = [
        api_bank_metrics.judge(text, entry) for text, entry in zip(texts, entries, strict=True)
    ]
    records = [
        api_bank_metrics.as_record(entry, question.messages, text, one)
        for entry, question, text, one in zip(entries, questions, texts, judged, strict=True)
    ]
    metrics = api_bank_metrics.metrics(judged)
    result = results.write(label, metrics, config, records, version=1, templates=styles.TEMPLATES)
    result.task_result["results"][label]["style"] = style.name
    return result


@register_evaluation_function("coalm-oumi/bfcl_v3")
def bfcl_v3(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """The Berkeley Function-Calling Leaderboard V3, zero-shot (paper, Table 4).

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice of each category.
        config: Oumi's; answers and BFCL's result files are written under its `output_dir`.
        inference_engine: Oumi's.
        data: The fields of `BfclOptions`.

    Returns:
        The columns of Table 4 as far as their categories were evaluated, and the accuracy of each
        category, in [0, 1]; `non_live_exec` says `retired`; `readable` and `num_samples`.
    """
    return _bfcl(V3, task_params, config, inference_engine, data)


@register_evaluation_function("coalm-oumi/bfcl_v4")
def bfcl_v4(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """The Berkeley Function-Calling Leaderboard V4, zero-shot: V3 with agents beside it.

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice of each category.
        config: Oumi's; answers and BFCL's result files are written under its `output_dir`.
        inference_engine: Oumi's.
        data: The fields of `BfclOptions`.

    Returns:
        The columns of `coalm_oumi.evaluation.bfcl.v4.columns` as far as their categories were
        evaluated, and the accuracy of each category and form of prompt, in [0, 1]; `readable` and
        `num_samples`.
    """
    return _bfcl(V4, task_params, config, inference_engine, data)


def _bfcl(
    version: Version,
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    options = BfclOptions.from_options(data)
    style = styles.by_name(options.style)
    _check_engine(style, config)
    asked = bfcl.ask(
        inference_engine,
        config,
        version,
        style,
        options.categories,
        task_params.num_samples,
        encoder=Path(options.encoder) if options.encoder else None,
    )
    judged = bfcl.judge(version, style, asked.entries, asked.answers)
    accuracies = bfcl.accuracies(judged)
    found = version.columns(accuracies, asked.sizes)
    columns = {name: found[name] for name in version.shown if name in found}
    table = Path(config.output_dir) / f"bfcl_{version.name}.md"
    write_text(table, bfcl.summary(version, judged, columns))
    metrics = {**columns, **{f"category/{name}": share for name, share in accuracies.items()}}
    records = [bfcl.as_record(sample, style) for sample in judged]
    result = results.write(
        version.task, metrics, config, records, version=1, templates=styles.TEMPLATES
    )
    values = result.task_result["results"][version.task]
    values |= {**version.notes, "sizes": dict(asked.sizes), "style": style.name}
    return result


def _on_held_out(
    label: str,
    metrics: Mapping[str, float],
    config: EvaluationConfig,
    records: Sequence[Json],
    held_out: HeldOut,
) -> EvaluationResult:
    return results.write(
        label,
        metrics,
        config,
        records,
        version=1,
        templates=("alpaca",),
        data=Path(held_out.dataset_path),
    )


def _check_engine(style: styles.Style, config: EvaluationConfig) -> None:
    from oumi.inference.native_tool_calling import supports_native_tool_calling

    if style.native and not supports_native_tool_calling(config.inference_engine):
        raise CoalmError(
            f"the prompt style `{style.name}` gives functions to the engine, and "
            f"{config.inference_engine} takes none; use VLLM or a remote engine, or another style"
        )


def _target(sample: Sample, place: str) -> DialogueState:
    """Reads a sample's own target, before anything is asked of the model."""
    try:
        return parse_state(sample.output)
    except CoalmError as error:
        raise CoalmError(
            f"{place}: {sample.dialogue_id}: its target cannot be scored: {error}"
        ) from error


def _calls_or_none(text: str) -> list[FunctionCall] | None:
    return _read(calls.parse_json, text)[0]


def _read(parse: Callable[[str], _Read], text: str) -> tuple[_Read | None, str | None]:
    """Reads an answer, or says why it cannot be read."""
    try:
        return parse(text), None
    except CoalmError as error:
        return None, str(error)
