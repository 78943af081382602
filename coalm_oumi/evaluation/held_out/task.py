"""The evaluation functions that recipes name: importing this module registers them in Oumi."""
# pyright: standard

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oumi.core.registry import register_evaluation_function
from oumi.utils.logging import logger

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.evaluation import held_out_samples as generation
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.failures import classify
from coalm_oumi.evaluation.held_out.loss import target_loss
from coalm_oumi.evaluation.held_out.metrics import joint_goal_accuracy, slot_parts
from coalm_oumi.evaluation.held_out_samples import HeldOut
from coalm_oumi.evaluation.options import takes
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.states import DialogueState, parse_state

if TYPE_CHECKING:
    # Oumi loads this module during its own imports. At that time, importing more of Oumi than
    # registering needs could close an import cycle.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

VERSION = 1
"""Raised when scores may move. The change log in this folder's README says what changed."""

_Read = TypeVar("_Read")


def _tod_samples(held_out: HeldOut) -> list[Sample]:
    return held_out.samples(["tod"])


def _tracked(held_out: HeldOut) -> str:
    samples = _tod_samples(held_out)
    for sample in samples:
        _target(sample, held_out.dataset_path)
    return f"{len(samples)} held-out states"


@register_evaluation_function("coalm-oumi/state_tracking")
@takes(HeldOut, _tracked)
@reported_by_oumi
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
    check_model(config, held_out, label)
    samples = _tod_samples(held_out)[: task_params.num_samples]
    expected = [_target(sample, held_out.dataset_path) for sample in samples]
    responses = generation.ask(inference_engine, config, results.file_name(label), samples)
    predicted: list[DialogueState | None] = []
    parts: list[results.Parts] = []
    records: list[results.AnswerRecord] = []
    for sample, response, truth in zip(samples, responses, expected, strict=True):
        state, reason = _read(parse_state, response)
        part = slot_parts(state, truth)
        predicted.append(state)
        parts.append(part)
        records.append(
            generation.record(
                sample, response, correct=state == truth, unreadable=reason, parts=part
            )
        )
    accuracy = joint_goal_accuracy(predicted, expected)
    metrics = {"joint_goal_accuracy": accuracy, **results.shares(parts)}
    return _on_held_out(label, metrics, config, records, held_out)


def _with_calls(held_out: HeldOut) -> list[tuple[Sample, list[FunctionCall]]]:
    """Reads the held-out samples whose target is a list of calls."""
    asked: list[tuple[Sample, list[FunctionCall]]] = []
    for sample in held_out.samples(["la"]):
        target, _ = _read(calls.parse_json, sample.output)
        if target is not None:
            asked.append((sample, target))
    if not asked:
        raise CoalmError(
            f"{held_out.dataset_path}: the target of no held-out sample is a list of calls; give a "
            "mixture with such samples of the domain `la`"
        )
    return asked


def _called(held_out: HeldOut) -> str:
    return f"{len(_with_calls(held_out))} held-out lists of calls"


@register_evaluation_function("coalm-oumi/function_calling")
@takes(HeldOut, _called)
@reported_by_oumi
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
    asked = _with_calls(held_out)[: task_params.num_samples]
    label = held_out.label("coalm-oumi/function_calling")
    check_model(config, held_out, label)
    samples = [sample for sample, _ in asked]
    responses = generation.ask(inference_engine, config, results.file_name(label), samples)
    records: list[results.AnswerRecord] = []
    for (sample, target), response in zip(asked, responses, strict=True):
        guess, reason = _read(calls.parse_json, response)
        failure = classify(guess, target)
        records.append(
            generation.record(
                sample,
                response,
                correct=failure is None,
                unreadable=reason,
                parsed=guess,
                failure=failure,
            )
        )
    metrics = {"ast_match": results.share_correct(records)}
    return _on_held_out(label, metrics, config, records, held_out)


def _any_target(held_out: HeldOut) -> str:
    return f"{len(held_out.samples(None))} held-out samples"


@register_evaluation_function("coalm-oumi/held_out")
@takes(HeldOut, _any_target)
@reported_by_oumi
def any_target(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """Held-out samples with any kind of target, such as those of your own data.

    Args:
        task_params: Oumi's; `num_samples` limits the samples.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's. With the native one the loss is computed as well.
        data: Which samples: the fields of `HeldOut`.

    Returns:
        `exact_match` (the answer is the target, but for white space around it), in [0, 1],
        `num_samples`, and with the native engine `target_loss`, in nats per token of the targets.
    """
    held_out = HeldOut.from_options(data)
    label = held_out.label("coalm-oumi/held_out")
    check_model(config, held_out, label)
    samples = held_out.samples(None)[: task_params.num_samples]
    responses = generation.ask(inference_engine, config, results.file_name(label), samples)
    records: list[results.AnswerRecord] = []
    for sample, response in zip(samples, responses, strict=True):
        is_right = response.strip() == sample.output.strip()
        records.append(generation.record(sample, response, correct=is_right, unreadable=None))
    metrics = {"exact_match": results.share_correct(records)}
    loss = target_loss(inference_engine, samples)
    if loss is None:
        logger.info(f"{label}: no target_loss, because only the native engine computes it")
    else:
        metrics["target_loss"] = loss.mean
        if loss.too_long:
            logger.warning(
                f"{label}: target_loss leaves out {loss.too_long} samples that are longer than the "
                "model's context"
            )
    return _on_held_out(label, metrics, config, records, held_out)


def _on_held_out(
    label: str,
    metrics: Mapping[str, float],
    config: EvaluationConfig,
    records: Sequence[results.AnswerRecord],
    held_out: HeldOut,
) -> EvaluationResult:
    return results.write(
        label,
        metrics,
        config,
        records,
        version=VERSION,
        templates=("alpaca",),
        data=Path(held_out.dataset_path),
    )


def _target(sample: Sample, place: str) -> DialogueState:
    """Reads a sample's own target, before anything is asked of the model."""
    try:
        return parse_state(sample.output)
    except CoalmError as error:
        raise CoalmError(
            f"{place}: {sample.dialogue_id}: its target is not a dialogue state: {error}"
        ) from error


def _read(parse: Callable[[str], _Read], text: str) -> tuple[_Read | None, str | None]:
    """Reads an answer, or says why it cannot be read."""
    try:
        return parse(text), None
    except CoalmError as error:
        return None, str(error)
