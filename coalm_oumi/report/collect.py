"""Reads the files of a run folder: losses, evaluation results and answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, read_json, read_jsonl


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What one `oumi train` logged.

    Attributes:
        name: Its folder, relative to the run folder.
        steps: The optimizer steps at which a loss was logged.
        losses: The loss over the steps since the entry before, in nats a target token.
        seconds: The wall time of the training loop.
    """

    name: str
    steps: Sequence[int]
    losses: Sequence[float]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What one task of one `oumi evaluate` found.

    Attributes:
        model: The label of the model: the evaluation's output folder, or its last part where that
            tells all apart.
        task: The task's name.
        metrics: Its metrics, shares in [0, 1].
        num_samples: On how many samples.
        seconds: The wall time.
        answers: What the model wrote, where the task kept it.
        evaluated: The model and adapter that Oumi loaded.
    """

    model: str
    task: str
    metrics: dict[str, float]
    num_samples: int
    seconds: float | None
    answers: Sequence[Json]
    evaluated: str


@dataclass(frozen=True, slots=True)
class Runs:
    """Everything found under a run folder."""

    training: Sequence[TrainingRun]
    results: Sequence[TaskResult]
    manifest: Json | None
    versions: dict[str, str]


def collect(folder: Path) -> Runs:
    """Reads a run folder. Of several results of one task and model, the latest counts.

    Raises:
        CoalmError: The folder holds neither a training run nor a result.
    """
    if not folder.is_dir():
        raise CoalmError(f"{folder}: no such folder; train and evaluate first")
    training = [
        _training(file, folder)
        for file in sorted(folder.rglob("trainer_state.json"))
        if not file.parent.name.startswith("checkpoint-")
    ]
    latest: dict[tuple[str, str], tuple[str, TaskResult]] = {}
    for file in sorted(folder.rglob("task_result.json")):
        for started, result in _results(file, folder):
            key = (result.model, result.task)
            if key not in latest or started >= latest[key][0]:
                latest[key] = (started, result)
    if not training and not latest:
        raise CoalmError(
            f"{folder}: neither a trainer_state.json nor a task_result.json is under it; point to "
            "the folder that holds the output_dir of `oumi train` and `oumi evaluate`"
        )
    manifests = [read_json(file) for file in sorted(folder.rglob("manifest.json"))]
    mixtures = [found for found in manifests if isinstance(found, dict) and "samples" in found]
    versions = sorted(folder.rglob("package_versions.json"))
    results = [result for _, result in latest.values()]
    short = {result.model: result.model.rpartition("/")[2] for result in results}
    if len(set(short.values())) == len(short) and "." not in short:
        results = [replace(result, model=short[result.model]) for result in results]
    return Runs(
        training=training,
        results=results,
        # Of several mixtures none is known to be the one that was trained on.
        manifest=mixtures[0] if len(mixtures) == 1 else None,
        versions=read_json(versions[-1]) if versions else {},
    )


def _training(file: Path, folder: Path) -> TrainingRun:
    log = read_json(file)["log_history"]
    logged = [entry for entry in log if "loss" in entry]
    finished = [entry["train_runtime"] for entry in log if "train_runtime" in entry]
    return TrainingRun(
        name=str(file.parent.relative_to(folder)),
        steps=[entry["step"] for entry in logged],
        losses=[float(entry["loss"]) for entry in logged],
        seconds=float(finished[-1]) if finished else None,
    )


def _results(file: Path, folder: Path) -> list[tuple[str, TaskResult]]:
    record = read_json(file)
    output_dir = file.parent.parent
    model_file = file.with_name("model_params.json")
    model = read_json(model_file) if model_file.is_file() else {}
    found = []
    for task, values in record.get("results", {}).items():
        answers = output_dir / str(values.get("answers", "nowhere"))
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and name != "num_samples"
        }
        result = TaskResult(
            model=str(output_dir.relative_to(folder)),
            task=task,
            metrics=numbers,
            num_samples=int(values.get("num_samples", 0)),
            seconds=record.get("duration_sec"),
            answers=[row for _, row in read_jsonl(answers)] if answers.is_file() else [],
            evaluated=" + ".join(
                str(model[key]) for key in ("model_name", "adapter_model") if model.get(key)
            ),
        )
        found.append((str(record.get("start_time", "")), result))
    return found
