"""The provenance of results, and warnings about results that are not comparable."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from coalm_oumi.core.digest import digest
from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.report.collect import Runs, TaskResult, TrainingRun
from coalm_oumi.report.saved import MadeWith


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The provenance of one run. A field that was not recorded is empty.

    Attributes:
        kind: `build`, `train`, `evaluate`, or `stage` for one of `coalm reproduce`.
        name: Its folder.
        model: The model that was loaded.
        recipe: A hash of the configuration as Oumi saved it.
        revision: The git revision of this package's checkout.
        data: The hash of the mixture.
        prompts: The fingerprint of the templates.
        packages: Names and versions.
        hardware: Accelerators or processor.
        seeds: Each seed of the configuration, by its place in it.
        seconds: Wall time.
        usd: The cost of an API.
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
            recipe=_digest(mixture.manifest.config),
            data=mixture.hash or "",
            packages=f"coalm-oumi {mixture.manifest.coalm_oumi}".strip(),
            seeds=_seeds(mixture.manifest.config),
        )
        for mixture in runs.mixtures
    ]
    found += [_training(run) for run in runs.training]
    found += [_evaluation(result) for result in runs.results]
    found += [
        replace(_record("stage", name, {}, stage.made_with), seconds=stage.seconds)
        for name, stage in runs.stages.items()
    ]
    return found


def _training(run: TrainingRun) -> RunRecord:
    record = _record("train", run.name, run.config, run.made_with)
    return replace(record, model=run.model, seconds=run.seconds)


def _evaluation(result: TaskResult) -> RunRecord:
    name = f"{result.model}: {result.task}"
    record = _record("evaluate", name, result.config, result.made_with)
    return replace(record, model=result.evaluated, seconds=result.seconds, usd=result.usd)


def _record(kind: str, name: str, config: Mapping[str, Json], made_with: MadeWith) -> RunRecord:
    packages = made_with.packages.items()
    return RunRecord(
        kind,
        name,
        recipe=_digest(config),
        revision=made_with.git or "",
        data=made_with.data or "",
        prompts=made_with.prompts or "",
        packages=", ".join(f"{package} {version}" for package, version in packages),
        hardware=made_with.hardware or "",
        seeds=_seeds(config),
    )


def _digest(config: Json) -> str:
    return digest(config) if config else ""


def _seeds(config: Json) -> str:
    found: list[str] = []

    def walk(value: Json, place: str) -> None:
        if is_object(value):
            for key, item in value.items():
                if key == "seed" and item is not None:
                    found.append(f"{place}{item}")
                walk(item, f"{key} " if key != "datasets" else place)
        elif is_list(value):
            for item in value:
                walk(item, place)

    walk(config, "")
    return ", ".join(dict.fromkeys(found))


def warnings(runs: Runs) -> list[str]:
    """Returns which results are left out or not comparable, and why."""
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
            if sides := _sides(values):
                found.append(f"{task}: {what} ({sides})")
    trained_on = {run.name: run.made_with.data for run in runs.training if run.made_with.data}
    if sides := _sides(trained_on):
        found.append(f"The models were trained on different mixtures ({sides})")
    return found


def _sides(values: Mapping[str, str]) -> str:
    """Lists the names that have each value; empty if all names have the same."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        groups[value].append(name)
    if len(groups) < 2:
        return ""
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in groups.items())


def _compared(results: Sequence[TaskResult]) -> dict[str, dict[str, str]]:
    """Returns what must be equal, by model. A field that was not recorded equals any other."""

    def recorded(of: Callable[[TaskResult], str | None]) -> dict[str, str]:
        return {result.model: value for result in results if (value := of(result))}

    counts = {result.model: f"{result.num_samples} samples" for result in results}
    by_count = len(set(counts.values())) > 1
    return {
        "the models did not answer the same samples": counts if by_count else recorded(_samples),
        "the prompts differ": recorded(lambda result: result.made_with.prompts),
        "the data differ": recorded(lambda result: result.made_with.data),
        "version or style of the task differ": recorded(lambda result: result.version),
        "versions of packages differ": recorded(_versions),
    }


def _samples(result: TaskResult) -> str:
    asked = [[row["input"], row["target"]] for row in result.answers]
    return result.made_with.samples or _digest(asked)


def _versions(result: TaskResult) -> str:
    packages = result.made_with.packages
    names = ("coalm-oumi", "oumi", "transformers", "vllm")
    return ", ".join(f"{name} {packages[name]}" for name in names if name in packages)
