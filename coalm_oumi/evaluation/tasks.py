"""The evaluation functions that recipes name: importing this module registers them in Oumi."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
from oumi.core.inference import BaseInferenceEngine
from oumi.core.registry import register_evaluation_function

from coalm_oumi import calls
from coalm_oumi.calls import CallError, FunctionCall
from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation import generation
from coalm_oumi.evaluation.api_bank import read as api_bank_read
from coalm_oumi.evaluation.generation import Answer, HeldOut
from coalm_oumi.evaluation.matching import ast_match
from coalm_oumi.evaluation.states import joint_goal_accuracy, parse_state, slot_f1
from coalm_oumi.sample import Sample

ANSWERS_DIR = "answers"
"""Where under the run's output folder the answers go, one file a task."""

_Read = TypeVar("_Read")


@register_evaluation_function("coalm-oumi/state_tracking")
def state_tracking(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> dict[str, Any]:
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
    samples = HeldOut.from_options(data).samples("tod")[: task_params.num_samples]
    answers = generation.ask(inference_engine, samples)
    predicted, reasons = _read_all(answers, parse_state)
    expected = [parse_state(sample.output) for sample in samples]
    precision, recall, f1 = slot_f1(predicted, expected)
    verdicts = [guess == truth for guess, truth in zip(predicted, expected, strict=True)]
    generation.write_answers(_file(config, "state_tracking"), answers, verdicts, reasons)
    return {
        "joint_goal_accuracy": joint_goal_accuracy(predicted, expected),
        "slot_precision": precision,
        "slot_recall": recall,
        "slot_f1": f1,
        "readable": reasons.count(None) / len(reasons),
        "num_samples": len(samples),
    }


@register_evaluation_function("coalm-oumi/function_calling")
def function_calling(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> dict[str, Any]:
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
    return _score_calls(asked, inference_engine, _file(config, "function_calling"))


@register_evaluation_function("coalm-oumi/api_bank")
def api_bank(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    path: str,
) -> dict[str, Any]:
    """Function calling on API-Bank, zero-shot.

    Args:
        task_params: Oumi's; `num_samples` limits the samples.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        path: `apibank_l1.json`, `apibank_l2.json` or their folder.

    Returns:
        As `function_calling`.
    """
    asked = [(sample, calls.parse_json(sample.output)) for sample in api_bank_read(Path(path))]
    return _score_calls(
        asked[: task_params.num_samples], inference_engine, _file(config, "api_bank")
    )


def _score_calls(
    asked: Sequence[tuple[Sample, list[FunctionCall]]], engine: BaseInferenceEngine, file: Path
) -> dict[str, Any]:
    answers = generation.ask(engine, [sample for sample, _ in asked])
    predicted, reasons = _read_all(answers, calls.parse_json)
    verdicts = [
        guess is not None and ast_match(guess, target)
        for guess, (_, target) in zip(predicted, asked, strict=True)
    ]
    generation.write_answers(file, answers, verdicts, reasons)
    return {
        "ast_match": sum(verdicts) / len(verdicts),
        "readable": reasons.count(None) / len(reasons),
        "num_samples": len(asked),
    }


def _file(config: EvaluationConfig, task: str) -> Path:
    return Path(config.output_dir) / ANSWERS_DIR / f"{task}.jsonl"


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
