"""The evaluation functions that recipes name: importing this module registers them in Oumi."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oumi.core.registry import register_evaluation_function

from coalm_oumi import calls
from coalm_oumi.calls import CallError, FunctionCall
from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation import generation
from coalm_oumi.evaluation.api_bank import read as read_api_bank
from coalm_oumi.evaluation.generation import Answer, HeldOut
from coalm_oumi.evaluation.matching import ast_match
from coalm_oumi.evaluation.states import joint_goal_accuracy, parse_state, slot_f1
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
    samples = held_out.samples("tod")[: task_params.num_samples]
    expected = [_target(sample, parse_state, held_out.dataset_path) for sample in samples]
    answers = generation.ask(inference_engine, samples)
    predicted, reasons = _read_all(answers, parse_state)
    precision, recall, f1 = slot_f1(predicted, expected)
    verdicts = [guess == truth for guess, truth in zip(predicted, expected, strict=True)]
    metrics = {
        "joint_goal_accuracy": joint_goal_accuracy(predicted, expected),
        "slot_precision": precision,
        "slot_recall": recall,
        "slot_f1": f1,
    }
    label = held_out.label("coalm-oumi/state_tracking")
    return _result(label, metrics, config, answers, verdicts, reasons)


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
    return _score_calls(label, asked, inference_engine, config)


@register_evaluation_function("coalm-oumi/api_bank")
def api_bank(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    path: str,
) -> EvaluationResult:
    """Function calling on one level of API-Bank, zero-shot. Not yet the Rouge-L of Table 3.

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        path: `apibank_l1.json` or `apibank_l2.json`.

    Returns:
        As `function_calling`.
    """
    samples = read_api_bank(Path(path))
    if task_params.num_samples is not None and task_params.num_samples < len(samples):
        samples = random.Random(0).sample(samples, task_params.num_samples)
    asked = [(sample, _target(sample, calls.parse_json, path)) for sample in samples]
    label = f"coalm-oumi/api_bank/{Path(path).stem}"
    return _score_calls(label, asked, inference_engine, config)


def _score_calls(
    label: str,
    asked: Sequence[tuple[Sample, list[FunctionCall]]],
    engine: BaseInferenceEngine,
    config: EvaluationConfig,
) -> EvaluationResult:
    answers = generation.ask(engine, [sample for sample, _ in asked])
    predicted, reasons = _read_all(answers, calls.parse_json)
    verdicts = [
        guess is not None and ast_match(guess, target)
        for guess, (_, target) in zip(predicted, asked, strict=True)
    ]
    metrics = {"ast_match": sum(verdicts) / len(verdicts)}
    return _result(label, metrics, config, answers, verdicts, reasons)


def _result(
    label: str,
    metrics: Mapping[str, float],
    config: EvaluationConfig,
    answers: Sequence[Answer],
    verdicts: Sequence[bool],
    reasons: Sequence[str | None],
) -> EvaluationResult:
    """Writes the answers, and returns the metrics under a label that tells tasks apart."""
    from oumi.core.evaluation.evaluation_result import EvaluationResult

    file = Path("answers") / f"{label.removeprefix('coalm-oumi/').replace('/', '.')}.jsonl"
    generation.write_answers(Path(config.output_dir) / file, answers, verdicts, reasons)
    values = {
        **metrics,
        "readable": reasons.count(None) / len(reasons),
        "num_samples": len(answers),
        "answers": str(file),
    }
    return EvaluationResult(task_name=label, task_result={"results": {label: values}})


def _target(sample: Sample, read: Callable[[str], _Read], place: str) -> _Read:
    """Reads a sample's own target, before anything is asked of the model."""
    try:
        return read(sample.output)
    except CoalmError as error:
        raise CoalmError(
            f"{place}: {sample.dialogue_id}: its target cannot be scored: {error}"
        ) from error


def _calls_or_none(text: str) -> list[FunctionCall] | None:
    try:
        return calls.parse_json(text)
    except CallError:
        return None


def _read_all(
    answers: Sequence[Answer], read: Callable[[str], _Read]
) -> tuple[list[_Read | None], list[str | None]]:
    """Reads each answer, or notes why it cannot be read."""
    values: list[_Read | None] = []
    reasons: list[str | None] = []
    for answer in answers:
        try:
            values.append(read(answer.response))
            reasons.append(None)
        except CoalmError as error:
            values.append(None)
            reasons.append(str(error))
    return values, reasons
