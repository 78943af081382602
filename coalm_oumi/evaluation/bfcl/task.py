"""The evaluation functions that recipes name: importing this module registers them in Oumi."""
# pyright: standard

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oumi.core.registry import register_evaluation_function
from oumi.utils.logging import logger
from pydantic import Field

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Text
from coalm_oumi.evaluation import results, styles
from coalm_oumi.evaluation.asked_model import check_model
from coalm_oumi.evaluation.bfcl import official, run, verdicts
from coalm_oumi.evaluation.bfcl.client import BfclWorker
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.options import TaskOptions, takes
from coalm_oumi.evaluation.styles import Style
from coalm_oumi.files.atomic import write_page

if TYPE_CHECKING:
    # Oumi loads this module during its own imports. At that time, importing more of Oumi than
    # registering needs could close an import cycle.
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine

VERSION = 2
"""Raised when scores may move. The change log in this folder's README says what changed."""


class BfclOptions(TaskOptions):
    """The options of BFCL.

    Attributes:
        style: `official` (bfcl-eval's own handler for a model of its table writes prompts and reads
            answers, as for Table 4), `bfcl` (its default prompt mode), `coalm` (Figure 5) or
            `native` (the chat template's tools).
        model: For the style `official`, the model's name in bfcl-eval's table, if it is not the
            recipe's `model.model_name`.
        categories: Categories, or groups such as `all`, `single_turn`, `multi_turn`, `live`,
            `non_live`; in V4 also `all_scoring`, `agentic`, `memory`, `web_search`.
        encoder: The folder of `all-MiniLM-L6-v2` for V4's vector memory; None downloads it from the
            Hub.
    """

    style: Literal["official", "bfcl", "coalm", "native"] = "official"
    model: Text | None = None
    categories: Sequence[Text] = Field(default=("all",), min_length=1)
    encoder: Text | None = None


@register_evaluation_function("coalm-oumi/bfcl_v3")
@takes(BfclOptions)
@reported_by_oumi
def bfcl_v3(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """The Berkeley Function-Calling Leaderboard V3, zero-shot (paper, Table 4).

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice of each category.
        config: Oumi's; answers and BFCL's result files are written under its `output_dir`.
        inference_engine: Oumi's.
        data: The fields of `BfclOptions`.

    Returns:
        The columns of Table 4 as far as their categories were evaluated, and the accuracy of each
        category, in [0, 1]; `non_live_exec` says `retired`; `readable` and `num_samples`.
    """
    return _bfcl(V3, task_params, config, inference_engine, data)


@register_evaluation_function("coalm-oumi/bfcl_v4")
@takes(BfclOptions)
@reported_by_oumi
def bfcl_v4(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """The Berkeley Function-Calling Leaderboard V4, zero-shot: V3 with agents beside it.

    Args:
        task_params: Oumi's; `num_samples` takes a seeded choice of each category.
        config: Oumi's; answers and BFCL's result files are written under its `output_dir`.
        inference_engine: Oumi's.
        data: The fields of `BfclOptions`.

    Returns:
        The columns of `coalm_oumi.evaluation.bfcl.v4.columns` as far as their categories were
        evaluated, and the accuracy of each category and form of prompt, in [0, 1]; `readable` and
        `num_samples`.
    """
    return _bfcl(V4, task_params, config, inference_engine, data)


def _style(version: Version, options: BfclOptions, config: EvaluationConfig) -> Style | Official:
    if options.style == "official":
        with BfclWorker(version) as worker:
            return official.find(worker, options.model, config)
    if options.model is not None:
        raise CoalmError(
            "eval_kwargs.data.model: only `style: official` reads it; set that style, or remove it"
        )
    style = styles.STYLES[options.style]
    styles.check_engine(style, config)
    return style


def _bfcl(
    version: Version,
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    options = BfclOptions.from_options(data)
    check_model(config, options, version.task)
    style = _style(version, options, config)
    if isinstance(style, Style):
        styles.check_template(style, inference_engine)
    asked = run.ask(
        inference_engine,
        config,
        version,
        style,
        options.categories,
        task_params.num_samples,
        encoder=Path(options.encoder) if options.encoder else None,
    )
    judged = verdicts.judge(version, style, asked.entries, asked.answers)
    accuracies = verdicts.accuracies(judged)
    found = version.columns(accuracies, asked.sizes)
    columns = {name: found[name] for name in version.shown if name in found}
    table = Path(config.output_dir) / f"bfcl_{version.name}.md"
    write_page(table, verdicts.summary(version, judged, columns, asked.too_long))
    metrics = {**columns, **{f"category/{name}": share for name, share in accuracies.items()}}
    records = list(map(verdicts.as_record, judged, asked.prompts))
    result = results.write(
        version.task, metrics, config, records, version=VERSION, templates=styles.TEMPLATES
    )
    values = result.task_result["results"][version.task]
    values |= {**version.notes, "sizes": dict(asked.sizes), "style": style.name}
    values |= {"asked_as": style.form, "right_irrelevance": verdicts.abstentions(judged)}
    values["too_long"] = dict(asked.too_long)
    if asked.too_long:
        found = ", ".join(f"{count} of {name}" for name, count in asked.too_long.items())
        logger.warning(
            f"scored as unanswered, because they are longer than the model's context: {found}"
        )
    return result
