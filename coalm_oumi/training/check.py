"""`coalm check`: reads everything that a recipe names, except the weights.

`oumi train` and `oumi evaluate` load the model before they read the data and the options of a task.
`coalm check` finds mistakes in these within seconds.
"""
# pyright: standard

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oumi.core.configs import EvaluationConfig, InferenceConfig, TrainingConfig
from oumi.core.configs.params.data_params import DatasetParams
from oumi.core.configs.params.evaluation_params import EvaluationBackend, EvaluationTaskParams
from oumi.core.configs.params.model_params import ModelParams
from oumi.core.registry import REGISTRY, RegistryType
from oumi.exceptions import HardwareException, OumiConfigError

from coalm_oumi.core.compat import finalize
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.finding import Finding
from coalm_oumi.core.jsontext import is_object
from coalm_oumi.data.datasets.base import SampleDataset
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.data.sources import open_source
from coalm_oumi.evaluation import options
from coalm_oumi.files.config import read_yaml
from coalm_oumi.files.resources import resolve
from coalm_oumi.training.recipe import read_oumi_config

_GIVEN_BY_OUMI = {"task_params", "config", "inference_engine"}


def check(recipe: Path, changes: Sequence[str] = ()) -> Iterator[Finding]:
    """Yields one finding for each thing that a recipe names.

    Args:
        recipe: A recipe of `oumi train`, `oumi evaluate`, `oumi infer` or `coalm build`.
        changes: Changes to it, `key=value`.

    Raises:
        CoalmError: There is no such file, or it has an unknown key or a value of the wrong type.
    """
    keys = _keys(recipe)
    if "sources" in keys:
        yield from _check_build(recipe, changes)
    elif "tasks" in keys:
        config = read_oumi_config(EvaluationConfig, recipe, changes)
        yield from _check_model(config.model)
        for task in config.tasks:
            yield _check_task(task)
    elif "training" in keys or "data" in keys:
        yield from _check_training(read_oumi_config(TrainingConfig, recipe, changes))
    else:
        yield from _check_model(read_oumi_config(InferenceConfig, recipe, changes).model)


def _keys(recipe: Path) -> Mapping[str, Any]:
    content = read_yaml(recipe)
    if not is_object(content):
        raise CoalmError(f"{recipe}: expected a mapping, as every recipe is")
    return content


def _check_build(recipe: Path, changes: Sequence[str]) -> Iterator[Finding]:
    config = load_config(recipe, list(changes))
    for name, source in config.sources.items():
        try:
            readers = [open_source(name, resolve(path), source.options) for path in source.path]
        except CoalmError as error:
            yield Finding(False, f"source {name}: {error}")
        else:
            size = sum(reader.size for reader in readers)
            yield Finding(True, f"source {name}: {size / 1e6:,.1f} MB of raw files")


def _check_training(config: TrainingConfig) -> Iterator[Finding]:
    yield from _check_model(config.model)
    try:
        finalize(config)
    except HardwareException as error:
        yield Finding(True, f"this machine cannot run it: {error}")
    except (OumiConfigError, ValueError) as error:
        yield Finding(False, f"Oumi refuses the recipe: {error}")
    for split, data in (
        ("train", config.data.train),
        ("validation", config.data.validation),
        ("test", config.data.test),
    ):
        for number, params in enumerate(data.datasets):
            yield _check_dataset(params, f"data.{split}.datasets[{number}]")


def _check_dataset(params: DatasetParams, place: str) -> Finding:
    """Builds a dataset of this package without a tokenizer, which selects all its samples."""
    name = params.dataset_name
    dataset_class: Any = REGISTRY.get_dataset(name, subset=params.subset)
    if dataset_class is None and name.startswith("coalm-oumi/"):
        known = REGISTRY.get_all(RegistryType.DATASET)
        ours = ", ".join(sorted(key for key in known if key.startswith("coalm-oumi/")))
        return Finding(False, f"{place}: there is no dataset {name}", f"use one of {ours}")
    if not (inspect.isclass(dataset_class) and issubclass(dataset_class, SampleDataset)):
        return Finding(True, f"{place}: {name} is not a dataset of this package; not checked")
    try:
        dataset = dataset_class(
            dataset_name=name,
            dataset_path=params.dataset_path,
            split=params.split,
            subset=params.subset,
            **params.dataset_kwargs,
        )
    except CoalmError as error:
        return Finding(False, f"{place}: {error}")
    return Finding(True, f"{place}: {len(dataset):,} samples")


def _check_task(task: EvaluationTaskParams) -> Finding:
    place = f"task {task.task_name}"
    if task.get_evaluation_backend() is not EvaluationBackend.CUSTOM:
        return Finding(True, f"{place}: a task of {task.evaluation_backend}; not checked")
    function = REGISTRY.get_evaluation_function(task.task_name or "")
    if function is None:
        return Finding(False, f"{place}: there is no such task", "`coalm doctor` lists them")
    given = set(task.eval_kwargs)
    wanted = set(inspect.signature(function).parameters) - _GIVEN_BY_OUMI
    if given != wanted:
        return Finding(
            False,
            f"{place}: eval_kwargs has {_listed(given)}",
            f"it takes {_listed(wanted)}",
        )
    if "data" not in wanted:
        return Finding(True, f"{place}: not checked further")
    try:
        found = options.check(function, task.eval_kwargs["data"])
    except CoalmError as error:
        return Finding(False, f"{place}: {error}")
    return Finding(True, f"{place}: {found or 'its options are valid'}")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no key"


def _check_model(model: ModelParams) -> Iterator[Finding]:
    """Checks that a model or adapter on disk exists. Names on the Hub are not looked up."""
    for key, value in (("model_name", model.model_name), ("adapter_model", model.adapter_model)):
        if not value or Path(value).exists():
            continue
        is_hub_id = value.count("/") == 1 and not value.startswith((".", "/", "~"))
        if is_hub_id or "/" not in value:
            yield Finding(True, f"model.{key}: {value} is taken from the Hub; not checked")
        else:
            yield Finding(False, f"model.{key}: {value}: no such folder")
