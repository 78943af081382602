"""The evaluation function that recipes name: importing this module registers it in Oumi."""
# pyright: standard

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oumi.core.registry import register_evaluation_function
from pydantic import Field

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.held_out_samples import HeldOut, ask, record
from coalm_oumi.evaluation.options import takes
from coalm_oumi.evaluation.react.data import Kind, ReactQuestion, questions
from coalm_oumi.evaluation.react.metrics import ReactVerdict, judge, metrics, parts

if TYPE_CHECKING:
    # Oumi loads this module during its own imports. At that time, importing more of Oumi than
    # registering needs could close an import cycle.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

TASK = "coalm-oumi/react"
VERSION = 1
"""Raised when scores may move. The change log in this folder's README says what changed."""
KINDS: tuple[Kind, ...] = ("action", "response", "decision")


class HeldOutDialogues(HeldOut):
    """The held-out samples of the task, and the kinds of questions.

    Attributes:
        kinds: The kinds of questions to ask.
    """

    kinds: Sequence[Kind] = Field(default=KINDS, min_length=1)


def _asked(held_out: HeldOutDialogues) -> list[ReactQuestion]:
    asked = questions(held_out.samples(["cra"]), place=held_out.dataset_path)
    asked = [question for question in asked if question.kind in held_out.kinds]
    if not asked:
        kinds = ", ".join(held_out.kinds)
        raise CoalmError(f"{held_out.dataset_path}: no held-out question of the kinds {kinds}")
    return asked


def _examine(held_out: HeldOutDialogues) -> str:
    asked = _asked(held_out)
    counts = [f"{sum(q.kind == kind for q in asked)} {kind}" for kind in held_out.kinds]
    return f"held-out questions: {', '.join(counts)}"


@register_evaluation_function(TASK)
@takes(HeldOutDialogues, _examine)
@reported_by_oumi
def react(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """The third skill: actions, responses and the choice between them on held-out CRA samples.

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice of that many questions per kind.
        config: Oumi's; answers are written under its `output_dir`.
        inference_engine: Oumi's.
        data: Which samples: the fields of `HeldOutDialogues`.

    Returns:
        The metrics of `coalm_oumi.evaluation.react.metrics.metrics`, `readable` and `num_samples`.
    """
    held_out = HeldOutDialogues.from_options(data)
    asked = _choice(_asked(held_out), task_params.num_samples)
    label = held_out.label(TASK)
    check_model(config, held_out, label)
    samples = [question.sample for question in asked]
    responses = ask(inference_engine, config, results.file_name(label), samples)
    verdicts = [judge(*pair) for pair in zip(asked, responses, strict=True)]
    records = [_record(*pair) for pair in zip(verdicts, responses, strict=True)]
    return results.write(
        label,
        metrics(verdicts),
        config,
        records,
        version=VERSION,
        templates=("agent_instruction", "alpaca", "cra_decision", "cra_history"),
        data=Path(held_out.dataset_path),
    )


def _choice(asked: Sequence[ReactQuestion], count: int | None) -> list[ReactQuestion]:
    """Takes a seeded choice of questions of each kind, in their order."""
    chosen: list[ReactQuestion] = []
    for kind in KINDS:
        of_kind = [question for question in asked if question.kind == kind]
        if count is not None and count < len(of_kind):
            places = sorted(random.Random(0).sample(range(len(of_kind)), count))
            of_kind = [of_kind[place] for place in places]
        chosen += of_kind
    return chosen


class ReactRecord(results.AnswerRecord):
    """The record of an answer, with the kind of its question."""

    kind: Kind


def _record(verdict: ReactVerdict, response: str) -> ReactRecord:
    kind = verdict.question.kind
    answer = None if kind == "response" else verdict.answer
    found = record(
        verdict.question.sample,
        response,
        correct=verdict.correct,
        unreadable=verdict.unreadable,
        parsed=answer.calls if answer else None,
        failure=verdict.failure,
        parts=parts(verdict),
    )
    return {**found, "kind": kind}
