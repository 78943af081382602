"""The evaluation functions that recipes name: importing this module registers them in Oumi."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oumi.core.registry import register_evaluation_function

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.sample import Sample
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.failures import classify
from coalm_oumi.evaluation.held_out import data as generation
from coalm_oumi.evaluation.held_out.data import HeldOut
from coalm_oumi.evaluation.held_out.metrics import joint_goal_accuracy, slot_f1
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.states import DialogueState, parse_state

if TYPE_CHECKING:
    # Oumi loads this module in the middle of its own imports. What is imported of Oumi here at that
    # time can close one of its import circles, so it stays at what registering takes.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

_Read = TypeVar("_Read")


@register_evaluation_function("coalm-oumi/state_tracking")
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
        generation.record(answer, correct=state == truth, unreadable=reason)
        for answer, (state, reason), truth in zip(answers, read, expected, strict=True)
    ]
    return _on_held_out(label, metrics, config, records, held_out)


@register_evaluation_function("coalm-oumi/function_calling")
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
            generation.record(
                answer, correct=failure is None, unreadable=reason, parsed=guess, failure=failure
            )
        )
    metrics = {"ast_match": results.share_correct(records)}
    return _on_held_out(label, metrics, config, records, held_out)


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
