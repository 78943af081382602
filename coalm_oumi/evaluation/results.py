"""What an evaluation leaves behind: the metrics for Oumi, and every answer for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coalm_oumi.core import compat
from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.files import provenance
from coalm_oumi.files.jsontext import write_jsonl
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.evaluation.evaluation_result import EvaluationResult

Parts = dict[str, tuple[float, float]]
"""What one answer adds to the numerator and the denominator of each metric.

A record keeps it as `parts`, and the report draws confidence intervals from it.
"""


def file_name(label: str) -> str:
    """Returns the name of a task's files, without a suffix."""
    return label.removeprefix("coalm-oumi/").replace("/", ".")


def as_json(calls: Sequence[FunctionCall]) -> list[Json]:
    """Returns calls as the records of Figure 5."""
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]


def as_signatures(tools: Sequence[Json]) -> str:
    """Writes the functions of a question, a line each, with the types of their arguments.

    Args:
        tools: Their descriptions, with `parameters` as a JSON Schema or, as Hammer has it, the
            arguments alone.
    """
    lines: list[str] = []
    for tool in tools:
        parameters = tool.get("parameters") or {}
        is_schema = isinstance(parameters.get("type"), str)
        arguments = parameters.get("properties", {}) if is_schema else parameters
        typed = (f"{name}: {details.get('type', 'any')}" for name, details in arguments.items())
        lines.append(f"{tool['name']}({', '.join(typed)})")
    return "\n".join(lines)


def share_correct(records: Sequence[Json]) -> float:
    """Returns the share of right answers."""
    return sum(found["correct"] for found in records) / len(records)


def shares(parts: Iterable[Parts]) -> dict[str, float]:
    """Returns each metric over all answers; 0 where its denominator is."""
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
    records: Sequence[Json],
    *,
    version: int,
    templates: Sequence[str],
    data: Path | None = None,
) -> "EvaluationResult":
    """Writes the answers, and returns the metrics under a label that tells tasks apart.

    Args:
        label: The task, and what tells it from others of its kind.
        metrics: Shares in [0, 1].
        config: Oumi's; the answers go to `answers/<label>.jsonl` under its `output_dir`.
        records: An object for each answer, with at least `input`, `target`, `response`, `correct`
            and `unreadable`; with `parts` where metrics are more than shares of right answers.
            `offered`, for people to look at, holds the functions or slots that the question lists.
        version: The task's, raised when numbers may move: those of others are not comparable.
        templates: The prompt templates that the task renders.
        data: The mixture that it asks, if any.
    """
    file = Path("answers") / f"{file_name(label)}.jsonl"
    # A model may write 1e999, and JSON has no infinity.
    plain = [json.loads(dumps(found), parse_constant=str) for found in records]
    write_jsonl(Path(config.output_dir) / file, plain)
    readable = sum(found["unreadable"] is None for found in records)
    values = {
        **metrics,
        "readable": readable / len(records),
        "num_samples": len(records),
        "answers": str(file),
        "task_version": version,
        "made_with": {
            **provenance.made_with(data=data, prompts=prompts.fingerprint_of(templates)),
            "samples": provenance.samples_hash(
                [[found.get("dialogue_id"), found["input"], found["target"]] for found in records]
            ),
        },
    }
    return for_oumi(label, values)


def for_oumi(label: str, values: Json) -> "EvaluationResult":
    """Returns what Oumi saves under `output_dir` once the task has ended.

    Args:
        label: The task, and what tells it from others of its kind.
        values: The metrics, and what they were made with.
    """
    from oumi.core.evaluation.evaluation_result import EvaluationResult

    compat.name_files_that_oumi_cannot_write()
    return EvaluationResult(task_name=label, task_result={"results": {label: values}})
