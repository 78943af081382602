"""BFCL V3, as releases 2025.6.8 to 2025.8.6.2 of the package carry it.

A sample is named by its index in the official order of its category: two samples share an id.
"""

# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

import copy
from functools import cache
from pathlib import Path
from typing import Any

import common  # first: it replaces the package's model table
import patches
from bfcl_eval import _llm_response_generation as generation
from bfcl_eval import utils as files
from bfcl_eval.constants import category_mapping, eval_config
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.model_handler import utils as handling
from bfcl_eval.model_handler.model_style import ModelStyle

ACTIONS: dict[str, Any] = {}
"""Requests that only this version takes."""


@cache
def entries(category: str) -> list[dict[str, Any]]:
    """Returns a category's samples in the official order."""
    path = eval_config.PROMPT_PATH / category_mapping.TEST_FILE_MAPPING[category]
    return files.load_file(path, sort_by_id=True)


@cache
def references(category: str) -> list[Any]:
    """Returns the references in the same order: None for relevance and irrelevance."""
    path = eval_config.POSSIBLE_ANSWER_PATH / category_mapping.TEST_FILE_MAPPING[category]
    rows = files.load_file(path) if path.exists() else []
    found = {row["id"]: row["ground_truth"] for row in rows}
    return [found.get(entry["id"]) for entry in entries(category)]


@cache
def asked(category: str) -> list[dict[str, Any]]:
    """Returns the samples as a handler takes them."""
    # The functions of the multi-turn samples are in separate files, and are put in here.
    return generation.process_multi_turn_test_case(copy.deepcopy(entries(category)))


def questions(category: str) -> list[dict[str, Any]]:
    """Returns the questions to a model, as the parts that prompt styles use."""
    # Copies: the package writes hints into the functions' descriptions as it prepares them.
    return [_question(entry, category) for entry in copy.deepcopy(asked(category))]


def _question(entry: dict[str, Any], category: str) -> dict[str, Any]:
    functions = handling.func_doc_language_specific_pre_processing(entry["function"], category)
    prompted = handling.system_prompt_pre_processing_chat_model(
        copy.deepcopy(entry["question"][0]), functions, category
    )
    tools = common.tools(functions, ModelStyle.OpenAI)
    additions = {}
    known = copy.deepcopy(functions)
    for turn, missed in entry.get("missed_function", {}).items():
        # When the package adds functions, it describes all functions again, including hints.
        known = handling.func_doc_language_specific_pre_processing(
            known + copy.deepcopy(missed), category
        )
        additions[turn] = common.addition(missed, common.tools(known, ModelStyle.OpenAI))
    return {
        "id": entry["id"],
        "kind": "multi_turn" if files.is_multi_turn(category) else "single_turn",
        "turns": entry["question"],
        "functions": functions,
        "prompted": prompted,
        "tools": tools,
        "additions": additions,
    }


def execute(entry: dict[str, Any], call: str) -> str:
    """Executes an allowed call of a sample."""
    (result,), _ = common.execute(entry, [call])
    return result


def read(form: str, text: str) -> list[str] | None:
    """Returns the calls that are executed at a step, None if the decoder reads none."""
    return common.decode(common.decoder(form).decode_execute, text)


def judge(
    category: str, form: str, model: str, sample: dict[str, Any], answer: Any, expected: Any
) -> tuple[Any, dict[str, Any] | None]:
    """Judges an answer with the package's own runner.

    Returns:
        The calls that the runner reads, and its finding about a wrong answer.
    """
    handler = common.decoder(form)
    results = [{"id": sample["id"], "result": answer}]
    if files.is_relevance_or_irrelevance(category):
        eval_runner.relevance_file_runner(handler, results, [sample], model, category, Path())
        return common.decode(handler.decode_ast, answer, "Python"), _wrong()
    truth = [{"ground_truth": expected}]
    if files.is_multi_turn(category):
        steps = common.allowed_steps(answer, sample, lambda step: read(form, step))
        results[0]["result"] = steps
        eval_runner.multi_turn_runner(
            common.Decoded, results, [sample], truth, model, category, Path()
        )
        return steps, _wrong()
    language = {"java": "Java", "javascript": "JavaScript"}.get(category, "Python")
    eval_runner.ast_file_runner(
        handler, results, [sample], truth, language, category, model, Path()
    )
    return common.decode(handler.decode_ast, answer, language), _wrong()


_written: list[dict[str, Any]] = []


def _keep(name: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Takes the rows that the runners write into files: numbers, then one for a wrong answer."""
    _written[:] = rows


def _wrong() -> dict[str, Any] | None:
    return _written[1] if len(_written) > 1 else None


patches.replace(eval_runner, "write_list_of_dicts_to_file", _keep)
