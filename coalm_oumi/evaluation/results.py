"""The results of an evaluation: the metrics for Oumi, and every answer for readers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from coalm_oumi.core import compat
from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, JsonValue, dumps
from coalm_oumi.core.options import first_problem
from coalm_oumi.files import provenance
from coalm_oumi.files.jsontext import read_jsonl, write_jsonl
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.evaluation.evaluation_result import EvaluationResult

Parts = dict[str, tuple[float, float]]
"""One answer's contribution to the numerator and denominator of each metric.

A record keeps it as `parts`, from which the report computes confidence intervals.
"""


@with_config(ConfigDict(extra="allow", strict=True))
class AnswerRecord(TypedDict):
    """A line of a task's file of answers. A task may add metrics of the one answer.

    Attributes:
        input: The question.
        target: The reference.
        response: The model's text.
        correct: Whether the answer is right.
        unreadable: Why the answer cannot be read; None if it can.
        dialogue_id: Names the sample.
        source: The sample's source in the mixture, or its category.
        offered: The functions or slots that the question lists, for readers.
        prompt: The messages that the model got.
        parsed: The calls that were read.
        failure: A `Failure`; None for a right answer.
        reason: Why the answer is wrong, in the benchmark's words.
        parts: `Parts`, if metrics are more than shares of right answers.
        turns: The number of turns with a state, for a whole dialogue.
        turns_right: The number of these turns whose state is right.
    """

    input: str
    target: str
    response: str
    correct: bool
    unreadable: str | None
    dialogue_id: NotRequired[str]
    source: NotRequired[str]
    offered: NotRequired[str]
    prompt: NotRequired[list[Json]]
    parsed: NotRequired[Json]
    failure: NotRequired[str | None]
    reason: NotRequired[str | None]
    parts: NotRequired[dict[str, list[bool | float]]]
    turns: NotRequired[int]
    turns_right: NotRequired[int]


_ANSWER = TypeAdapter(AnswerRecord)


def file_name(label: str) -> str:
    """Returns the name of a task's files, without a suffix."""
    return label.removeprefix("coalm-oumi/").replace("/", ".")


def as_json(calls: Sequence[FunctionCall]) -> list[dict[str, JsonValue]]:
    """Returns calls as the records of Figure 5."""
    return [call.as_record() for call in calls]


def as_signatures(tools: Sequence[Json]) -> str:
    """Writes the functions of a question, one per line, with the types of their arguments.

    Args:
        tools: Their descriptions. `parameters` is a JSON Schema or, in Hammer's form, only the
            arguments.
    """
    lines: list[str] = []
    for tool in tools:
        parameters: Mapping[str, Json] = tool.get("parameters") or {}
        is_schema = isinstance(parameters.get("type"), str)
        arguments: Mapping[str, Json]
        arguments = parameters.get("properties", {}) if is_schema else parameters
        typed = (f"{name}: {details.get('type', 'any')}" for name, details in arguments.items())
        lines.append(f"{tool['name']}({', '.join(typed)})")
    return "\n".join(lines)


def share_correct(records: Sequence[AnswerRecord]) -> float:
    """Returns the share of right answers."""
    return sum(found["correct"] for found in records) / len(records)


def shares(parts: Iterable[Parts]) -> dict[str, float]:
    """Returns each metric over all answers; 0 if its denominator is 0."""
    totals: dict[str, tuple[float, float]] = {}
    for of_answer in parts:
        for name, (part, whole) in of_answer.items():
            former = totals.get(name, (0.0, 0.0))
            totals[name] = former[0] + part, former[1] + whole
    return {name: part / whole if whole else 0.0 for name, (part, whole) in totals.items()}


def write(
    label: str,
    metrics: Mapping[str, float],
    config: "EvaluationConfig",
    records: Sequence[AnswerRecord],
    *,
    version: int,
    templates: Sequence[str],
    data: Path | None = None,
) -> "EvaluationResult":
    """Writes the answers, and returns the metrics under a label that tells tasks apart.

    Args:
        label: The task, with what distinguishes it from others of its kind.
        metrics: Shares in [0, 1].
        config: Oumi's; the answers go to `answers/<label>.jsonl` under its `output_dir`.
        records: The answers, at least one.
        version: The task's version. Scores of different versions are not comparable.
        templates: The prompt templates that the task renders.
        data: The mixture from which it takes its questions, if any.
    """
    file = Path("answers") / f"{file_name(label)}.jsonl"
    # A model may write 1e999, and JSON has no infinity.
    plain = [json.loads(dumps(found), parse_constant=str) for found in records]
    write_jsonl(Path(config.output_dir) / file, plain)
    readable = sum(found["unreadable"] is None for found in records)
    samples = [[found.get("dialogue_id"), found["input"], found["target"]] for found in records]
    values = {
        **metrics,
        "readable": readable / len(records),
        "num_samples": len(records),
        "answers": str(file),
        "task_version": version,
        "made_with": made_with(templates, samples, data),
    }
    return for_oumi(label, values)


def made_with(
    templates: Sequence[str], samples: Sequence[Json], data: Path | None = None
) -> dict[str, Json]:
    """Describes what a task was run with, so that results are compared of the same questions only.

    Args:
        templates: The prompt templates that it renders.
        samples: What names each sample, in their order.
        data: The mixture that it asks, if any.
    """
    made = provenance.made_with(data=data, prompts=prompts.fingerprint_of(templates))
    return {**made, "samples": digest(samples)}


def read_answers(file: Path) -> list[AnswerRecord]:
    """Reads the answers that `write` wrote.

    Raises:
        CoalmError: The file is missing, or a line is no such record.
    """
    answers: list[AnswerRecord] = []
    for number, record in read_jsonl(file):
        try:
            answers.append(_ANSWER.validate_python(record))
        except ValidationError as error:
            raise CoalmError(
                f"{file}:{number}: not an answer of a task: {first_problem(error)}; evaluate "
                "again, or delete the result"
            ) from error
    return answers


def for_oumi(label: str, values: Json) -> "EvaluationResult":
    """Returns what Oumi saves under `output_dir` once the task has ended.

    Args:
        label: The task, and what tells it from others of its kind.
        values: The metrics, and what they were made with.
    """
    # Not at the top, since Oumi loads this module during its own imports.
    from oumi.core.evaluation.evaluation_result import EvaluationResult

    compat.name_files_that_oumi_cannot_write()
    return EvaluationResult(task_name=label, task_result={"results": {label: values}})
