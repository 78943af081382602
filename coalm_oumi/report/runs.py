"""Where the numbers come from, and which of them cannot be compared."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coalm_oumi.core.digest import digest
from coalm_oumi.core.jsontext import Json
from coalm_oumi.report.collect import Runs, TaskResult, TrainingRun


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of one run. A field that nobody recorded is empty.

    Attributes:
        kind: `build`, `train`, `evaluate`, or `stage` for one of `coalm reproduce`.
        name: Its folder.
        model: What was loaded.
        recipe: A hash of the configuration as Oumi saved it.
        revision: The git revision of this package's checkout.
        data: The hash of the mixture.
        prompts: The fingerprint of the templates.
        packages: Names and versions.
        hardware: Accelerators or processor.
        seeds: Each seed of the configuration, by its place in it.
        seconds: Wall time.
        usd: What was paid.
    """

    kind: str
    name: str
    model: str = ""
    recipe: str = ""
    revision: str = ""
    data: str = ""
    prompts: str = ""
    packages: str = ""
    hardware: str = ""
    seeds: str = ""
    seconds: float | None = None
    usd: float | None = None


def records(runs: Runs) -> list[RunRecord]:
    """Returns a record for each build, training, evaluated task and stage."""
    found = [
        RunRecord(
            "build",
            mixture.name,
            recipe=_digest(mixture.manifest.get("config")),
            data=mixture.hash or "",
            packages=f"coalm-oumi {mixture.manifest.get('coalm_oumi', '')}".strip(),
            seeds=_seeds(mixture.manifest.get("config") or {}),
        )
        for mixture in runs.mixtures
    ]
    found += [_training(run) for run in runs.training]
    found += [_evaluation(result) for result in runs.results]
    found += [
        RunRecord("stage", name, seconds=stage["seconds"], **_common({}, stage["made_with"]))
        for name, stage in runs.stages.items()
    ]
    return found


def _training(run: TrainingRun) -> RunRecord:
    return RunRecord(
        "train",
        run.name,
        run.model,
        seconds=run.seconds,
        **_common(run.config, run.made_with),
    )


def _evaluation(result: TaskResult) -> RunRecord:
    return RunRecord(
        "evaluate",
        f"{result.model}: {result.task}",
        result.evaluated,
        seconds=result.seconds,
        usd=result.usd,
        **_common(result.config, result.made_with),
    )


def _common(config: Mapping[str, Any], made_with: Mapping[str, Json]) -> dict[str, Any]:
    packages = made_with.get("packages") or {}
    return {
        "recipe": _digest(config),
        "revision": made_with.get("git") or "",
        "data": made_with.get("data") or "",
        "prompts": made_with.get("prompts") or "",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "hardware": made_with.get("hardware") or "",
        "seeds": _seeds(config),
    }


def _digest(config: Json) -> str:
    return digest(config) if config else ""


def _seeds(config: Mapping[str, Any]) -> str:
    found: list[str] = []

    def walk(value: Any, place: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                if key == "seed" and item is not None:
                    found.append(f"{place}{item}")
                walk(item, f"{key} " if key != "datasets" else place)
        elif isinstance(value, list):
            for item in value:
                walk(item, place)

    walk(config, "")
    return ", ".join(dict.fromkeys(found))


def warnings(runs: Runs) -> list[str]:
    """Returns which results are left out or cannot be compared, and why."""
    by_task: dict[str, list[TaskResult]] = defaultdict(list)
    by_model: dict[str, set[str]] = defaultdict(set)
    for result in runs.results:
        by_task[result.task].append(result)
        by_model[result.model].add(result.evaluated)
    found = [f"left out, since it cannot be read: {reason}" for reason in runs.damaged]
    found += [
        f"{model}: its tasks were not all of one model, but of {' and of '.join(sorted(evaluated))}"
        for model, evaluated in by_model.items()
        if len(evaluated) > 1
    ]
    for task, results in by_task.items():
        for what, values in _compared(results).items():
            groups: dict[str, list[str]] = defaultdict(list)
            for model, value in values.items():
                groups[value].append(model)
            if len(groups) > 1:
                sides = "; ".join(f"{value}: {', '.join(names)}" for value, names in groups.items())
                found.append(f"{task}: {what} ({sides})")
    trained: dict[str, list[str]] = defaultdict(list)
    for run in runs.training:
        if data := run.made_with.get("data"):
            trained[str(data)].append(run.name)
    if len(trained) > 1:
        sides = "; ".join(f"{data}: {', '.join(names)}" for data, names in trained.items())
        found.append(f"The models were trained on different mixtures ({sides})")
    return found


def _compared(results: Sequence[TaskResult]) -> dict[str, dict[str, str]]:
    """Returns what must be the same, by model. What nobody recorded differs from nothing."""

    def recorded(key: str) -> dict[str, str]:
        found = {r.model: r.made_with.get(key) for r in results}
        return {model: str(value) for model, value in found.items() if value is not None}

    samples = {r.model: _samples(r) for r in results}
    counts = {r.model: f"{r.num_samples} samples" for r in results}
    by_count = len(set(counts.values())) > 1
    return {
        "the models did not answer the same samples": counts
        if by_count
        else {m: s for m, s in samples.items() if s},
        "the prompts differ": recorded("prompts"),
        "the data differ": recorded("data"),
        "version or style of the task differ": {r.model: r.version for r in results if r.version},
        "versions of packages differ": {r.model: _versions(r) for r in results if _versions(r)},
    }


def _samples(result: TaskResult) -> str:
    if known := result.made_with.get("samples"):
        return str(known)
    return _digest([[row["input"], row["target"]] for row in result.answers])


def _versions(result: TaskResult) -> str:
    packages = result.made_with.get("packages") or {}
    names = ("coalm-oumi", "oumi", "transformers", "vllm")
    return ", ".join(f"{name} {packages[name]}" for name in names if name in packages)
