"""BFCL V4, as releases from 2025.8.25 on carry it.

Beside V3's categories it has agents that search the web or keep a memory. Memories are written in
conversations that come before the questions: they are the category `<category>_prereq` here.
"""

# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

import copy
import importlib
import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import common  # first: it replaces the package's model table
import model_table
import patches
import web
from bfcl_eval import utils as files
from bfcl_eval.constants import eval_config
from bfcl_eval.constants.enums import ModelStyle, ReturnFormat
from bfcl_eval.constants.executable_backend_config import CLASS_FILE_PATH_MAPPING
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.model_handler import utils as handling
from limit import limit

MAX_MEMORY = 100_000
"""The most characters of a memory that is a single text. The package intends 10,000."""


@cache
def entries(category: str) -> list[dict[str, Any]]:
    """Returns a category's samples in the official order, as the checkers take them."""
    return _load(category, hints=False)


@cache
def asked(category: str) -> list[dict[str, Any]]:
    """Returns the samples as models are asked them."""
    return _load(category, hints=True)


def _load(category: str, *, hints: bool) -> list[dict[str, Any]]:
    found = files.load_dataset_entry(
        category.removesuffix("_prereq"),
        include_prereq=files.is_memory_prereq(category),
        include_language_specific_hint=hints,
    )
    if files.is_memory_prereq(category):
        found = [entry for entry in found if files.is_memory_prereq(entry["id"])]
    root = eval_config.RESULT_PATH / model_table.MODEL
    found = files.populate_initial_settings_for_memory_test_cases(found, root)
    return files.populate_initial_settings_for_web_search_test_cases(found)


@cache
def references(category: str) -> list[Any]:
    """Returns the references in the same order: None if there is nothing to compare with."""
    if files.is_relevance_or_irrelevance(category) or files.is_memory_prereq(category):
        return [None] * len(entries(category))
    # By their order, as the package does it: some have ids of another form.
    return [row["ground_truth"] for row in files.load_ground_truth_entry(category)]


def questions(category: str) -> list[dict[str, Any]]:
    """Returns the questions to a model, as the parts that prompt styles use."""
    return [_question(entry, category) for entry in copy.deepcopy(asked(category))]


def _question(entry: dict[str, Any], category: str) -> dict[str, Any]:
    known = list(entry["function"])
    additions = {}
    for turn, missed in entry.get("missed_function", {}).items():
        known += missed
        additions[turn] = common.addition(missed, _tools(known))
    return {
        "id": entry["id"],
        "kind": _kind(category),
        "turns": entry["question"],
        "functions": entry["function"],
        "prompted": _prompted(entry, entry["question"][0]),
        "tools": _tools(entry["function"]),
        "additions": additions,
        "scenario": entry.get("scenario", ""),
        "prompt_form": entry["id"].split(":")[1] if files.is_format_sensitivity(category) else "",
    }


def _kind(category: str) -> str:
    if files.is_memory_prereq(category):
        return "memory_prereq"
    kinds = {
        "memory": files.is_memory,
        "web_search": files.is_web_search,
        "multi_turn": files.is_multi_turn,
    }
    return next((kind for kind, is_so in kinds.items() if is_so(category)), "single_turn")


def _prompted(entry: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return handling.system_prompt_pre_processing_chat_model(
        copy.deepcopy(messages), entry["function"], entry["id"]
    )


def _tools(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return common.tools(functions, ModelStyle.OPENAI_COMPLETIONS)


def execute(entry: dict[str, Any], call: str) -> str:
    """Executes an allowed call of a sample, of the web in a separate process."""
    if files.is_web_search(entry["id"]):
        return _on_the_web(entry, call)
    (result,), parts = common.execute(entry, [call])
    for part in parts.values():
        text = getattr(part, "memory", None)  # may grow a thousandfold with every replacement
        if isinstance(text, str):
            part.memory = text[:MAX_MEMORY]
    return result


def _on_the_web(entry: dict[str, Any], call: str) -> str:
    web.stay_public()
    pages = importlib.import_module(CLASS_FILE_PATH_MAPPING["WebSearchAPI"])
    # The search engine's client has a separate import.
    patches.replace(pages, "requests", type("requests", (), {"get": staticmethod(web.fetch)}))
    # A search may have to wait for its turn.
    within = limit(web.MAX_SECONDS) if "fetch_url_content" in call else nullcontext()
    try:
        with within:
            (result,), _ = common.execute(entry, [call])
    except TimeoutError as error:
        result = f"Error during execution: {error}"
    key = os.environ.get("SERPAPI_API_KEY")  # errors contain the whole address, including the key
    return result.replace(key, "...") if key else result


def check(class_name: str) -> dict[str, Any]:
    """Imports an environment: that of the vector memory loads its encoder."""
    importlib.import_module(CLASS_FILE_PATH_MAPPING[class_name])
    return {}


def recall(category: str, index: int) -> dict[str, Any]:
    """Returns a first turn that tells the model the current content of its memory."""
    entry = asked(category)[index]
    _, instances = common.execute(entry, [])
    (memory,) = instances.values()
    (first,) = handling.add_memory_instruction_system_prompt(
        [copy.deepcopy(entry["question"][0])], category, entry["scenario"], memory
    )
    return {"first": first, "prompted": _prompted(entry, first)}


def keep(category: str, index: int) -> dict[str, Any]:
    """Saves what a conversation wrote into the memory, for later conversations."""
    _, instances = common.execute(asked(category)[index], [])
    (memory,) = instances.values()
    memory._flush_memory_to_local_file()
    return {}


ACTIONS: dict[str, Any] = {"check": check, "recall": recall, "keep": keep}
"""Requests that only this version takes."""


def read(form: str, text: str) -> list[str] | None:
    """Returns the calls that are executed at a step, None if the decoder reads none."""
    return common.decode(common.decoder(form).decode_execute, text, False)


def judge(
    category: str, form: str, model: str, sample: dict[str, Any], answer: Any, expected: Any
) -> tuple[Any, dict[str, Any] | None]:
    """Judges an answer with the package's own runner.

    Returns:
        The calls that the runner reads, and its finding about a wrong answer.
    """
    handler = common.decoder(form)
    results = [{"id": sample["id"], "result": answer}]
    truth = [{"ground_truth": expected}]
    if files.is_relevance_or_irrelevance(category):
        eval_runner.relevance_file_runner(handler, results, [sample], model, category, Path())
        return common.decode(handler.decode_ast, answer, ReturnFormat.PYTHON, False), _wrong()
    if files.is_agentic(category):  # nothing is executed here
        steps = [[read(form, s["seen"]) or s["said"] for s in turn] for turn in answer]
        results[0]["result"] = steps
        eval_runner.agentic_runner(
            common.Decoded, results, [sample], truth, model, category, Path()
        )
        return steps, _wrong()
    if files.is_multi_turn(category):
        steps = common.allowed_steps(answer, sample, lambda step: read(form, step))
        results[0]["result"] = steps
        eval_runner.multi_turn_runner(
            common.Decoded, results, [sample], truth, model, category, Path()
        )
        return steps, _wrong()
    if files.is_format_sensitivity(category):
        eval_runner.format_sensitivity_runner(
            handler, results, [sample], truth, model, category, Path()
        )
        config = files.extract_prompt_format_from_id(sample["id"])
        written, tagged, *_ = handling.parse_prompt_variation_params(config)
    else:
        eval_runner.ast_file_runner(handler, results, [sample], truth, category, model, Path())
        written, tagged = _WRITTEN_IN.get(category, "python"), False
    return common.decode(handler.decode_ast, answer, ReturnFormat(written), tagged), _wrong()


_WRITTEN_IN = {"simple_java": "java", "simple_javascript": "javascript"}
_rows: list[dict[str, Any]] = []


def _keep_rows(rows: list[dict[str, Any]], *_: Any, **__: Any) -> tuple[float, int]:
    """Takes the rows that the runners write into files, one for each wrong answer."""
    _rows[:] = rows
    return 0.0, 0


def _wrong() -> dict[str, Any] | None:
    return _rows[0] if _rows else None


patches.replace(eval_runner, "save_eval_results", _keep_rows)
