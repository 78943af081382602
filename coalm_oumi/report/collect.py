"""Reads the files of run folders: losses, evaluation results and answers, and what they came of."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, loads
from coalm_oumi.core.wording import printable
from coalm_oumi.files import provenance
from coalm_oumi.files.config import read_yaml
from coalm_oumi.files.jsontext import read_json, read_jsonl

_T = TypeVar("_T")

KNOWN_PACKAGES = ("oumi", "torch", "transformers", "peft", "trl", "datasets", "lm_eval")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What one `oumi train` logged.

    Attributes:
        name: Its folder, relative to the run folder.
        steps: The optimizer steps at which a loss was logged.
        losses: The loss over the steps since the entry before, in nats per target token.
        rates: The learning rate at these steps.
        seconds: The wall time of the training loop.
        model: The model that was tuned.
        config: The configuration that Oumi saved.
        made_with: What the dataset logged of code, data and hardware.
    """

    name: str
    steps: Sequence[int]
    losses: Sequence[float]
    rates: Sequence[float]
    seconds: float | None
    model: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, Json] = field(default_factory=dict)


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
        errors: Standard errors of metrics, where the task gives them: LM Evaluation Harness.
        sizes: The sizes of BFCL's whole categories.
        version: The task's, and how it asked.
        style: How it asked, if the task says so.
        counts: What the task counted beside its metrics, such as the samples that were too long.
        target_loss: The cross entropy of the targets in nats per token, where it was computed.
        usd: What was paid for it, where that is known.
        config: The configuration that Oumi saved.
        made_with: What the task recorded of code, data, prompts, samples and hardware.
    """

    model: str
    task: str
    metrics: dict[str, float]
    num_samples: int
    seconds: float | None
    answers: Sequence[Json]
    evaluated: str
    errors: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    style: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    target_loss: float | None = None
    usd: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, Json] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The last part of its output folder: the name of a row of the paper's tables."""
        return self.model.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture that `coalm build` wrote, and what `coalm stats` counted.

    Attributes:
        name: Its folder, relative to the run folder.
        manifest: What the build wrote.
        stats: What was counted; None where nothing was.
        hash: Identifies its content.
    """

    name: str
    manifest: Json
    stats: Json | None
    hash: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """Everything found under the run folders."""

    training: Sequence[TrainingRun]
    results: Sequence[TaskResult]
    mixtures: Sequence[Mixture]
    stages: Mapping[str, Json] = field(default_factory=dict)
    """What `coalm reproduce` recorded of its finished stages, by name."""
    damaged: Sequence[str] = ()
    """Files that cannot be read, as a kill or a full disk leaves them, and why."""

    @property
    def manifest(self) -> Json | None:
        """The mixture's manifest. Of several mixtures none is known to be that of the training."""
        return self.mixtures[0].manifest if len(self.mixtures) == 1 else None


def collect(*folders: Path) -> Runs:
    """Reads run folders. Of several results of one task and model, the latest counts.

    Raises:
        CoalmError: They hold neither a training run nor a result that can be read.
    """
    for folder in folders:
        if not folder.is_dir():
            raise CoalmError(f"{folder}: no such folder; train and evaluate first")
    root = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    damaged: list[str] = []

    def each(name: str, read: Callable[[Path], _T]) -> Iterator[tuple[Path, _T]]:
        for file in _find(folders, name):
            try:
                yield file, read(file)
            except (CoalmError, LookupError, TypeError, ValueError, AttributeError) as error:
                reason = str(error) if isinstance(error, CoalmError) else f"{file}: {error!r}"
                damaged.append(reason)

    training = [
        run
        for file, run in each("trainer_state.json", lambda file: _training(file, root))
        if not file.parent.name.startswith("checkpoint-")
    ]
    latest: dict[tuple[str, str], tuple[str, TaskResult]] = {}
    for _, found in each("task_result.json", lambda file: _results(file, root)):
        for started, result in found:
            key = (result.model, result.task)
            if key not in latest or started >= latest[key][0]:
                latest[key] = (started, result)
    if damaged and not training and not latest:
        raise CoalmError(f"no run can be read: {'; '.join(damaged[:3])}")
    if not training and not latest:
        raise CoalmError(
            f"{', '.join(map(str, folders))}: neither a trainer_state.json nor a task_result.json "
            "is under it; point to the folder that holds the output_dir of `oumi train` and "
            "`oumi evaluate`"
        )
    results = [result for _, result in latest.values()]
    short = {result.model: result.run for result in results}
    if len(set(short.values())) == len(short) and "." not in short:
        results = [replace(result, model=short[result.model]) for result in results]
    return Runs(
        training=training,
        results=results,
        mixtures=[
            mixture
            for _, mixture in each("manifest.json", lambda file: _mixture(file, root))
            if mixture is not None
        ],
        stages={
            key: record
            for _, stages in each("reproduce.jsonl", _stages)
            for key, record in stages.items()
        },
        damaged=damaged,
    )


def _find(folders: Sequence[Path], name: str) -> list[Path]:
    """Finds files of a name, each once."""
    return sorted({file.resolve() for folder in folders for file in folder.rglob(name)})


def _stages(file: Path) -> dict[str, Json]:
    return {row["key"]: row["record"] for _, row in read_jsonl(file) if "key" in row}


def _mixture(file: Path, root: Path) -> Mixture | None:
    manifest = read_json(file)
    if not isinstance(manifest, dict) or "samples" not in manifest:
        return None
    stats = file.with_name("stats.json")
    return Mixture(
        name=printable(file.parent.relative_to(root)),
        manifest=manifest,
        stats=read_json(stats) if stats.is_file() else None,
        hash=provenance.data_hash(file.parent),
    )


def _training(file: Path, root: Path) -> TrainingRun:
    log = read_json(file)["log_history"]
    logged = [entry for entry in log if "loss" in entry]
    finished = [entry["train_runtime"] for entry in log if "train_runtime" in entry]
    config = _yaml(file.parent / "telemetry" / "training_config.yaml")
    return TrainingRun(
        name=printable(file.parent.relative_to(root)),
        steps=[entry["step"] for entry in logged],
        losses=[float(entry["loss"]) for entry in logged],
        rates=[float(entry.get("learning_rate", "nan")) for entry in logged],
        seconds=float(finished[-1]) if finished else None,
        model=str(config.get("model", {}).get("model_name", "")),
        config=config,
        made_with=_logged(file.parent / "logs"),
    )


def _logged(folder: Path) -> Mapping[str, Json]:
    """Reads what the dataset wrote into a run's log; of several starts, the last counts."""
    found: Mapping[str, Json] = {}
    for file in sorted(folder.glob("rank_*.log"))[:1]:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            _, mark, text = line.partition(provenance.MARK)
            if mark:
                found = loads(text)
    return found


def _yaml(file: Path) -> Mapping[str, Any]:
    return (read_yaml(file) or {}) if file.is_file() else {}


def _results(file: Path, root: Path) -> list[tuple[str, TaskResult]]:
    record = read_json(file)
    output_dir = file.parent.parent
    model = _json(file.with_name("model_params.json"))
    evaluated = [str(model[key]) for key in ("model_name", "adapter_model") if model.get(key)]
    harness = _json(file.with_name("backend_config.json"))
    asked = _json(file.with_name("task_params.json")).get("task_name")
    versions = _json(file.with_name("package_versions.json"))
    packages = {name: versions[name] for name in KNOWN_PACKAGES if name in versions}
    found = []
    for task, values in record.get("results", {}).items():
        if harness and task != asked:
            continue  # a part of a group such as MMLU
        metrics, errors = _numbers(values)
        made_with = values.get("made_with", {})
        sizes = harness.get("n-samples", {})
        parts = [sizes[task]] if task in sizes else sizes.values()
        counted = sum(part["effective"] for part in parts)
        result = TaskResult(
            model=printable(output_dir.relative_to(root)),
            task=printable(task),
            metrics=metrics,
            num_samples=int(values.get("num_samples", counted)),
            seconds=record.get("duration_sec"),
            answers=_rows(output_dir, values.get("answers")),
            evaluated=printable(" + ".join(evaluated)),
            errors=errors,
            sizes=values.get("sizes", {}),
            version=_version(values, harness.get("versions", {}).get(task)),
            style=values.get("style"),
            counts={
                f"{kind.replace('_', ' ')}: {name.replace('_', ' ')}": count
                for kind in ("right_irrelevance", "too_long")
                for name, count in values.get(kind, {}).items()
            },
            target_loss=values.get("target_loss"),
            usd=_paid(values.get("spent", {})),
            config=_yaml(file.with_name("evaluation_config.yaml")),
            made_with={"packages": packages, **made_with},
        )
        found.append((str(record.get("start_time", "")), result))
    return found


def _json(file: Path) -> Mapping[str, Any]:
    return read_json(file) if file.is_file() else {}


def _rows(output_dir: Path, name: str | None) -> Sequence[Json]:
    file = output_dir / (name or "nowhere")
    return [row for _, row in read_jsonl(file)] if file.is_file() else []


_NOT_METRICS = ("num_samples", "task_version", "sample_len", "target_loss")
"""Numbers that are not shares. The report shows every metric as a percentage."""


def _numbers(values: Mapping[str, Json]) -> tuple[dict[str, float], dict[str, float]]:
    """Separates metrics from their standard errors, which the harness calls `acc_stderr,none`."""
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


def _version(values: Mapping[str, Json], harness: Json) -> str:
    parts = [values.get("task_version", harness), values.get("style")]
    return " ".join(str(part) for part in parts if part is not None)


def _paid(spent: Mapping[str, Json]) -> float | None:
    known = [account["usd"] for account in spent.values() if account.get("usd") is not None]
    return sum(known) if known else None
