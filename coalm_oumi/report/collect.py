"""Reads the files of run folders: losses, evaluation results, answers and their provenance."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_object, loads
from coalm_oumi.core.wording import printable
from coalm_oumi.evaluation.results import AnswerRecord, read_answers
from coalm_oumi.files import provenance, saved
from coalm_oumi.files.config import read_yaml
from coalm_oumi.files.jsontext import read_json, read_jsonl
from coalm_oumi.report.saved import (
    FinishedStage,
    Harness,
    MadeWith,
    Manifest,
    Packages,
    Stats,
    TaskParams,
    TaskValues,
    TrainerState,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The log of one `oumi train`.

    Attributes:
        name: Its folder, relative to the run folder.
        steps: The optimizer steps at which a loss was logged.
        losses: The loss over the steps since the previous entry, in nats per target token.
        rates: The learning rate at these steps.
        seconds: The wall time of the training loop.
        model: The model that was tuned.
        config: The configuration that Oumi saved.
        made_with: Code, data and hardware, as the dataset logged them.
    """

    name: str
    steps: Sequence[int]
    losses: Sequence[float]
    rates: Sequence[float]
    seconds: float | None
    model: str = ""
    config: Mapping[str, Json] = field(default_factory=dict[str, Json])
    made_with: MadeWith = field(default_factory=MadeWith)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of one task of one `oumi evaluate`.

    Attributes:
        model: The label of the model: the last part of the evaluation's output folder, or the
            whole if the last parts are not unique.
        task: The task's name.
        metrics: Its metrics, shares in [0, 1].
        num_samples: The number of samples.
        seconds: The wall time.
        answers: The model's answers, if the task saved them.
        evaluated: The model and adapter that Oumi loaded.
        started: The start time, as text that sorts by time.
        errors: Standard errors of metrics, if the task gives them (LM Evaluation Harness).
        sizes: The sizes of BFCL's whole categories.
        version: The version of the task, and its style.
        style: The style of its prompts, if the task records it.
        counts: Other counts of the task, such as the samples that were too long.
        target_loss: The cross entropy of the targets in nats per token, if computed.
        usd: The cost of its API, if known.
        config: The configuration that Oumi saved.
        made_with: Code, data, prompts, samples and hardware, as the task recorded them.
    """

    model: str
    task: str
    metrics: dict[str, float]
    num_samples: int
    seconds: float | None
    answers: Sequence[AnswerRecord]
    evaluated: str
    started: str = ""
    errors: Mapping[str, float] = field(default_factory=dict[str, float])
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    version: str = ""
    style: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    target_loss: float | None = None
    usd: float | None = None
    config: Mapping[str, Json] = field(default_factory=dict[str, Json])
    made_with: MadeWith = field(default_factory=MadeWith)

    @property
    def run(self) -> str:
        """The last part of its output folder, which names a row of the paper's tables."""
        return self.model.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture that `coalm build` wrote, and the counts of `coalm stats`.

    Attributes:
        name: Its folder, relative to the run folder.
        manifest: The manifest of the build.
        stats: The counts, or None.
        hash: A hash of its content.
    """

    name: str
    manifest: Manifest
    stats: Stats | None
    hash: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """Everything found under the run folders."""

    training: Sequence[TrainingRun]
    results: Sequence[TaskResult]
    mixtures: Sequence[Mixture]
    stages: Mapping[str, FinishedStage] = field(default_factory=dict[str, FinishedStage])
    """The finished stages of `coalm reproduce`, by name."""
    damaged: Sequence[str] = ()
    """Files that cannot be read, for example after a kill or on a full disk, and the reasons."""

    @property
    def manifest(self) -> Manifest | None:
        """The mixture's manifest. If there are several, None: the training's is not known."""
        return self.mixtures[0].manifest if len(self.mixtures) == 1 else None


def collect(*folders: Path) -> Runs:
    """Reads run folders. If a task and model have several results, the latest counts.

    Raises:
        CoalmError: They hold neither a training run nor a result that can be read.
    """
    for folder in folders:
        if not folder.is_dir():
            raise CoalmError(f"{folder}: no such folder; train and evaluate first")
    root = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    damaged: list[str] = []

    def each(name: str, read: Callable[[Path], _T | None]) -> Iterator[_T]:
        for file in sorted({file.resolve() for folder in folders for file in folder.rglob(name)}):
            try:
                found = read(file)
            except CoalmError as error:
                damaged.append(str(error))
            else:
                if found is not None:
                    yield found

    training = list(each("trainer_state.json", lambda file: _training(file, root)))
    evaluations = each("task_result.json", lambda file: _results(file, root))
    results = _latest(result for evaluation in evaluations for result in evaluation)
    if not training and not results:
        if damaged:
            raise CoalmError(f"every run is unreadable: {'; '.join(damaged[:3])}")
        raise CoalmError(
            f"{', '.join(map(str, folders))}: neither a trainer_state.json nor a task_result.json "
            "is under it; point to the folder that holds the output_dir of `oumi train` and "
            "`oumi evaluate`"
        )
    mixtures = list(each("manifest.json", lambda file: _mixture(file, root)))
    stages: dict[str, FinishedStage] = {}
    for finished in each("reproduce.jsonl", _stages):
        stages |= finished
    return Runs(training, results, mixtures, stages, damaged)


def _latest(results: Iterable[TaskResult]) -> list[TaskResult]:
    """Keeps the latest result per task and model. Models get short names if these are unique."""
    latest: dict[tuple[str, str], TaskResult] = {}
    for result in results:
        key = (result.model, result.task)
        if key not in latest or result.started >= latest[key].started:
            latest[key] = result
    short = {result.model: result.run for result in latest.values()}
    if len(set(short.values())) < len(short) or "." in short:
        return list(latest.values())
    return [replace(result, model=result.run) for result in latest.values()]


def _stages(file: Path) -> dict[str, FinishedStage]:
    return {
        row["key"]: FinishedStage.read(row["record"], where=f"{file}:{number}")
        for number, row in read_jsonl(file)
        if is_object(row) and {"key", "record"} <= row.keys()
    }


def _mixture(file: Path, root: Path) -> Mixture | None:
    content = read_json(file)
    if not is_object(content) or "samples" not in content:
        return None  # of something else
    stats = file.with_name("stats.json")
    return Mixture(
        name=printable(file.parent.relative_to(root)),
        manifest=Manifest.read(content, where=str(file)),
        stats=saved.read(Stats, stats) if stats.is_file() else None,
        hash=provenance.data_hash(file.parent),
    )


def _training(file: Path, root: Path) -> TrainingRun | None:
    if file.parent.name.startswith("checkpoint-"):
        return None
    log = saved.read(TrainerState, file).log_history
    logged = [(entry, entry.loss) for entry in log if entry.loss is not None]
    finished = [entry.train_runtime for entry in log if entry.train_runtime is not None]
    config = _yaml(file.parent / "telemetry" / "training_config.yaml")
    model = config.get("model")
    return TrainingRun(
        name=printable(file.parent.relative_to(root)),
        steps=[entry.step for entry, _ in logged],
        losses=[loss for _, loss in logged],
        rates=[entry.learning_rate for entry, _ in logged],
        seconds=finished[-1] if finished else None,
        model=str(model.get("model_name", "")) if is_object(model) else "",
        config=config,
        made_with=_logged(file.parent / "logs"),
    )


def _logged(folder: Path) -> MadeWith:
    """Reads the dataset's line in a run's log. If there were several starts, the last counts."""
    found = MadeWith()
    for file in sorted(folder.glob("rank_*.log"))[:1]:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            _, mark, text = line.partition(provenance.MARK)
            if mark:
                found = _made_with(text, file)
    return found


def _made_with(text: str, file: Path) -> MadeWith:
    try:
        return MadeWith.read(loads(text), where=str(file))
    except ValueError as error:
        raise CoalmError(f"{file}: its line `{provenance.MARK}` is damaged: {error}") from error


def _yaml(file: Path) -> Mapping[str, Json]:
    content = read_yaml(file) if file.is_file() else None
    return content if is_object(content) else {}


def _results(file: Path, root: Path) -> list[TaskResult]:
    evaluation = saved.read(saved.EvaluationResult, file)
    output_dir = file.parent.parent
    model = saved.read(saved.ModelParams, file.with_name("model_params.json"))
    evaluated = [name for name in (model.model_name, model.adapter_model) if name]
    harness = saved.read(Harness, file.with_name("backend_config.json"))
    asked = saved.read(TaskParams, file.with_name("task_params.json")).task_name
    packages = saved.read(Packages, file.with_name("package_versions.json"))
    config = _yaml(file.with_name("evaluation_config.yaml"))
    found: list[TaskResult] = []
    for task, numbers in evaluation.results.items():
        if harness.counts and task != asked:
            continue  # a part of a group such as MMLU
        values = TaskValues.read(numbers, where=f"{file}, {task}")
        metrics, errors = _numbers(numbers)
        parts = [harness.counts[task]] if task in harness.counts else harness.counts.values()
        counted = sum(part.effective for part in parts)
        made_with = values.made_with
        if not made_with.packages:
            of_oumi = packages.model_dump(exclude_none=True)
            made_with = made_with.model_copy(update={"packages": of_oumi})
        result = TaskResult(
            model=printable(output_dir.relative_to(root)),
            task=printable(task),
            metrics=metrics,
            num_samples=counted if values.num_samples is None else values.num_samples,
            seconds=evaluation.duration_sec,
            answers=_answers(output_dir, values.answers),
            evaluated=printable(" + ".join(evaluated)),
            started=evaluation.start_time,
            errors=errors,
            sizes=values.sizes,
            version=_version(values, harness.versions.get(task)),
            style=values.style,
            counts=_counts(values),
            target_loss=values.target_loss,
            usd=_paid(values),
            config=config,
            made_with=made_with,
        )
        found.append(result)
    return found


def _answers(output_dir: Path, name: str | None) -> Sequence[AnswerRecord]:
    file = output_dir / (name or "nowhere")
    return read_answers(file) if file.is_file() else []


_NOT_METRICS = ("num_samples", "task_version", "sample_len", "target_loss")
"""Numbers that are not shares, where the report shows every metric as a percentage."""


def _numbers(values: Mapping[str, Json]) -> tuple[dict[str, float], dict[str, float]]:
    """Separates metrics from their standard errors, such as the harness's `acc_stderr,none`."""
    metrics: dict[str, float] = {}
    errors: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or key in _NOT_METRICS:
            continue
        name, _, how = key.partition(",")
        kind = errors if name.endswith("_stderr") else metrics
        name = name.removesuffix("_stderr")
        kind[name if how in ("", "none") else f"{name} ({how})"] = float(value)
    return metrics, errors


def _counts(values: TaskValues) -> dict[str, int]:
    kinds = {"right irrelevance": values.right_irrelevance, "too long": values.too_long}
    return {
        f"{kind}: {name.replace('_', ' ')}": count
        for kind, counts in kinds.items()
        for name, count in counts.items()
    }


def _version(values: TaskValues, harness: int | float | str | None) -> str:
    version = harness if values.task_version is None else values.task_version
    return " ".join(str(part) for part in (version, values.style) if part is not None)


def _paid(values: TaskValues) -> float | None:
    known = [account.usd for account in values.spent.values() if account.usd is not None]
    return sum(known) if known else None
