"""Checks the model of an evaluation before anything is asked."""

from pathlib import Path
from typing import TYPE_CHECKING

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.options import TaskOptions
from coalm_oumi.files import saved

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig


def check_model(config: "EvaluationConfig", options: TaskOptions, label: str) -> None:
    """Checks the model of an evaluation.

    Args:
        config: Oumi's.
        options: The task's; `other_base` allows an adapter on another base model.
        label: The task's results.

    Raises:
        CoalmError: The adapter was trained on another base model, or `output_dir` holds the results
            of this task for another model, which would be overwritten.
    """
    _check_base(config, options)
    _check_output(config, label)


def _check_base(config: "EvaluationConfig", options: TaskOptions) -> None:
    adapter, model = config.model.adapter_model, config.model.model_name
    settings = Path(adapter or "nowhere") / "adapter_config.json"
    if options.other_base or not settings.is_file():
        return
    base = saved.read(saved.AdapterConfig, settings).base_model_name_or_path
    if base and not _same(base, model):
        raise CoalmError(
            f"{adapter}: was trained on {base}, and model.model_name is {model}; name the base "
            "model there, or set eval_kwargs.data.other_base: true if both are the same weights"
        )


def _check_output(config: "EvaluationConfig", label: str) -> None:
    asked = _names(config.model.model_name, config.model.adapter_model)
    for file in sorted(Path(config.output_dir).glob("*/model_params.json")):
        try:
            result = saved.read(saved.EvaluationResult, file.with_name("task_result.json"))
            model = saved.read(saved.ModelParams, file)
        except CoalmError:
            continue  # damaged by a kill or a full disk, so there is no result to overwrite
        known = _names(model.model_name, model.adapter_model)
        if label in result.results and known != asked:
            raise CoalmError(
                f"{config.output_dir}: holds the results of {' + '.join(known)} for {label}; write "
                f"those of {' + '.join(asked)} elsewhere: --output_dir output/eval/NAME"
            )


def _names(model: str | None, adapter: str | None) -> list[str]:
    return [str(Path(name)) for name in (model, adapter) if name]


def _same(first: str, second: str) -> bool:
    if Path(first).exists() and Path(second).exists():
        return Path(first).resolve() == Path(second).resolve()
    return Path(first) == Path(second)
