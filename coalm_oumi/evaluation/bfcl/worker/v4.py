"""BFCL V4, as releases from 2025.8.25 on carry it.

Beside V3's categories it has agents that search the web or keep a memory. Memories are written in
conversations that come before the questions: they are the category `<category>_prereq` here.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import table
from bfcl_eval import utils as files
from bfcl_eval.constants import default_prompts, eval_config
from bfcl_eval.constants.enums import ModelStyle, ReturnFormat
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
from bfcl_eval.model_handler import utils as handling
from bfcl_eval.model_handler.local_inference.hammer import HammerHandler
from safety import Decoded, allowed_steps, decode, methods, public_addresses_only


@cache
def entries(category: str) -> list[dict[str, Any]]:
    """Returns a category's samples in the official order, as the checkers take them."""
    return _load(category, hints=False)


@cache
def _asked(category: str) -> list[dict[str, Any]]:
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
    root = eval_config.RESULT_PATH / table.MODEL
    found = files.populate_initial_settings_for_memory_test_cases(found, root)
    return files.populate_initial_settings_for_web_search_test_cases(found)


@cache
def references(category: str) -> list[Any]:
    """Returns the references in the same order: None where there is nothing to compare with."""
    if files.is_relevance_or_irrelevance(category) or files.is_memory_prereq(category):
        return [None] * len(entries(category))
    # By their order, as the package does it: some have ids of another form.
    return [row["ground_truth"] for row in files.load_ground_truth_entry(category)]


def questions(category: str) -> list[dict[str, Any]]:
    """Returns what a model is asked, in each prompt style's parts."""
    return [_question(entry) for entry in _asked(category)]


def _question(entry: dict[str, Any]) -> dict[str, Any]:
    if "involved_classes" in entry:
        allowed(entry)  # imports them, which fails here rather than after hours
    additions = {}
    known = list(entry["function"])
    for turn, missed in entry.get("missed_function", {}).items():
        known += missed
        additions[turn] = {
            "prompt": default_prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING.format(
                functions=missed
            ),
            "short_prompt": default_prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC,
            "tools": _tools(known),
        }
    return {
        "id": entry["id"],
        "turns": entry["question"],
        "functions": entry["function"],
        "prompted": _prompted(entry, entry["question"][0]),
        "tools": _tools(entry["function"]),
        "additions": additions,
    }


def _prompted(entry: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return handling.system_prompt_pre_processing_chat_model(
        copy.deepcopy(messages), entry["function"], entry["id"]
    )


def _tools(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return handling.convert_to_tool(functions, GORILLA_TO_OPENAPI, ModelStyle.OPENAI_COMPLETIONS)


def allowed(entry: dict[str, Any]) -> set[str]:
    """Returns the names of a sample's own functions."""
    return methods(multi_turn_utils.CLASS_FILE_PATH_MAPPING, tuple(entry["involved_classes"]))


def execute(entry: dict[str, Any], call: str) -> str:
    """Executes an allowed call in the sample's environment, which lives on until the end."""
    if not files.is_web_search(entry["id"]):
        (result,), _ = _execute(entry, [call])
        return result
    with public_addresses_only():
        (result,), _ = _execute(entry, [call])
    key = os.environ.get("SERPAPI_API_KEY")  # errors tell the whole address, and the key in it
    return result.replace(key, "...") if key else result


def _execute(entry: dict[str, Any], calls: list[str]) -> tuple[list[str], dict[str, Any]]:
    return multi_turn_utils.execute_multi_turn_func_call(
        calls,
        entry["initial_config"],
        entry["involved_classes"],
        table.MODEL,
        entry["id"],
        long_context="long_context" in entry["id"],
    )


def recall(category: str, index: int) -> dict[str, Any]:
    """Returns a first turn that tells the model what is in its memory by now."""
    entry = _asked(category)[index]
    _, instances = _execute(entry, [])
    (memory,) = instances.values()
    (first,) = handling.add_memory_instruction_system_prompt(
        [copy.deepcopy(entry["question"][0])], category, entry["scenario"], memory
    )
    return {"first": first, "prompted": _prompted(entry, first)}


def keep(category: str, index: int) -> dict[str, Any]:
    """Writes what a conversation left in the memory, for those after it."""
    _, instances = _execute(_asked(category)[index], [])
    (memory,) = instances.values()
    memory._flush_memory_to_local_file()
    return {}


class _Brackets:
    """The decoder of BFCL's prompt mode, which Llama's and CoALM's entries in its table use."""

    decode_ast = staticmethod(handling.default_decode_ast_prompting)
    decode_execute = staticmethod(handling.default_decode_execute_prompting)


_HANDLERS = {"bracket": _Brackets(), "json": HammerHandler.__new__(HammerHandler)}


def judge(
    category: str,
    form: str,
    model: str,
    samples: list[dict[str, Any]],
    results: list[dict[str, Any]],
    expected: list[dict[str, Any]],
    where: Path,
) -> list[Any]:
    """Has the package's own runner judge answers, and returns the calls that it reads in them.

    Of an agent's steps there are two texts: what the decoder may see, and what the model wrote.
    """
    handler = _HANDLERS[form]
    texts = [result["result"] for result in results]
    if files.is_relevance_or_irrelevance(category):
        eval_runner.relevance_file_runner(handler, results, samples, model, category, where)
        return [decode(handler.decode_ast, text, ReturnFormat.PYTHON, False) for text in texts]
    if files.is_agentic(category):  # nothing is executed here
        for result in results:
            result["result"] = [
                [decode(handler.decode_execute, seen, False) or text for seen, text in turn]
                for turn in result["result"]
            ]
        eval_runner.agentic_runner(Decoded, results, samples, expected, model, category, where)
        return [result["result"] for result in results]
    if files.is_multi_turn(category):
        for sample, result in zip(samples, results, strict=True):
            result["result"] = allowed_steps(
                result["result"], allowed(sample), handler.decode_execute, False
            )
        eval_runner.multi_turn_runner(Decoded, results, samples, expected, model, category, where)
        return [result["result"] for result in results]
    if files.is_format_sensitivity(category):
        eval_runner.format_sensitivity_runner(
            handler, results, samples, expected, model, category, where
        )
        ids = (sample["id"] for sample in samples)
        return [_read_varied(handler, *pair) for pair in zip(ids, texts, strict=True)]
    written = {"simple_java": ReturnFormat.JAVA, "simple_javascript": ReturnFormat.JAVASCRIPT}
    eval_runner.ast_file_runner(handler, results, samples, expected, category, model, where)
    format_ = written.get(category, ReturnFormat.PYTHON)
    return [decode(handler.decode_ast, text, format_, False) for text in texts]


def _read_varied(handler: Any, id_: str, text: str) -> Any:
    config = files.extract_prompt_format_from_id(id_)
    format_, tagged, *_ = handling.parse_prompt_variation_params(config)
    return decode(handler.decode_ast, text, ReturnFormat(format_), tagged)
