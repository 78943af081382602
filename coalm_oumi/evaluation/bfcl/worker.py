"""Runs inside the environment of `bfcl-eval`: hands out its questions, executes and judges calls.

This file imports nothing of `coalm_oumi`, which is not installed there. It reads one JSON request a
line and writes one JSON reply a line:

    {"do": "questions", "category": c}
    {"do": "execute", "category": c, "index": i, "calls": ["f(a=1)"]}
    {"do": "score", "model": m, "form": "json" | "bracket", "rows": {c: [[i, result]]},
     "workers": n}

A sample is named by its index in the official order of its category: two samples share an id.

Questions, function descriptions, prompts, decoders and checkers are the package's own. Calls of the
multi-turn categories are executed with `eval` by the package, so here, before that, only a call of
one of the sample's own functions with literal arguments gets through.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import ast
import copy
import importlib
import inspect
import json
import multiprocessing
import os
import sys
import tempfile
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# The package's model table imports the client of every API vendor, which takes longer than all
# checks together. The checkers look up one flag in it: whether dots of names became underscores.
MODEL, MODEL_WITHOUT_DOTS = "coalm", "native"
_table = types.ModuleType("bfcl_eval.constants.model_config")
_table.MODEL_CONFIG_MAPPING = {
    MODEL: types.SimpleNamespace(underscore_to_dot=False),
    MODEL_WITHOUT_DOTS: types.SimpleNamespace(underscore_to_dot=True),
}
sys.modules[_table.__name__] = _table

from bfcl_eval import _llm_response_generation as generation  # noqa: E402
from bfcl_eval import utils as files  # noqa: E402
from bfcl_eval.constants import category_mapping, default_prompts, eval_config  # noqa: E402
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI  # noqa: E402
from bfcl_eval.eval_checker import eval_runner  # noqa: E402
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils  # noqa: E402
from bfcl_eval.model_handler import utils as handling  # noqa: E402
from bfcl_eval.model_handler.local_inference.hammer import HammerHandler  # noqa: E402
from bfcl_eval.model_handler.model_style import ModelStyle  # noqa: E402

REFUSED = "refused_call()"
"""Stands for a call that is not executed. Like one of an unknown function, it changes nothing."""


# --- Questions ---


@cache
def entries(category: str) -> list[dict[str, Any]]:
    """Returns a category's samples in the official order."""
    path = eval_config.PROMPT_PATH / category_mapping.TEST_FILE_MAPPING[category]
    return files.load_file(path, sort_by_id=True)


@cache
def answers(category: str) -> dict[str, Any]:
    """Returns a category's references by id; relevance and irrelevance have none."""
    path = eval_config.POSSIBLE_ANSWER_PATH / category_mapping.TEST_FILE_MAPPING[category]
    return (
        {row["id"]: row["ground_truth"] for row in files.load_file(path)} if path.exists() else {}
    )


def questions(category: str) -> list[dict[str, Any]]:
    """Returns what a model is asked, in each prompt style's parts."""
    # The functions of the multi-turn samples lie in files of their own, and are put in here.
    complete = generation.process_multi_turn_test_case(copy.deepcopy(entries(category)))
    return [_question(entry, category) for entry in complete]


def _question(entry: dict[str, Any], category: str) -> dict[str, Any]:
    functions = handling.func_doc_language_specific_pre_processing(entry["function"], category)
    prompted = handling.system_prompt_pre_processing_chat_model(
        copy.deepcopy(entry["question"][0]), functions, category
    )
    additions = {}
    tools = _tools(functions)
    known = copy.deepcopy(functions)
    for turn, missed in entry.get("missed_function", {}).items():
        # The package describes all functions anew when it adds some, hints included.
        known = handling.func_doc_language_specific_pre_processing(
            known + copy.deepcopy(missed), category
        )
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
        "functions": functions,
        "prompted": prompted,
        "tools": tools,
        "additions": additions,
        "expected": answers(category).get(entry["id"]),
    }


def _tools(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return handling.convert_to_tool(functions, GORILLA_TO_OPENAPI, ModelStyle.OpenAI)


# --- Executing ---


def execute(category: str, index: int, calls: list[str]) -> dict[str, list[str]]:
    """Executes one step's calls, and returns what each gave.

    The environment of a sample lives on from step to step, so steps come in their order.
    """
    return {"results": [_execute(entries(category)[index], call) for call in calls]}


def _execute(entry: dict[str, Any], call: str) -> str:
    reason = refusal(call, methods(tuple(entry["involved_classes"])))
    if reason:
        return f"Error during execution: {reason}"
    (result,), _ = _official(entry, [call])
    return result


def _official(entry: dict[str, Any], calls: list[str]) -> tuple[list[str], dict[str, Any]]:
    return multi_turn_utils.execute_multi_turn_func_call(
        calls,
        entry["initial_config"],
        entry["involved_classes"],
        MODEL,
        entry["id"],
        long_context="long_context" in entry["id"],
    )


@cache
def methods(class_names: tuple[str, ...]) -> set[str]:
    """Returns the names of the functions that environments of these classes offer."""
    paths = multi_turn_utils.CLASS_FILE_PATH_MAPPING
    classes = [getattr(importlib.import_module(paths[name]), name) for name in class_names]
    return {
        name
        for class_ in classes
        for name, _ in inspect.getmembers(class_, inspect.isfunction)
        if not name.startswith("_")
    }


def refusal(call: str, allowed: set[str]) -> str | None:
    """Says why a call is not executed, or returns None."""
    try:
        node = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return f"{type(error).__name__}"
    if not isinstance(node, ast.Call):
        return "not a call"
    try:
        return _refusal(node, allowed)
    except RecursionError:
        return "nested too deeply"


def _refusal(node: Any, allowed: set[str]) -> str | None:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in allowed:
            return f"name '{ast.unparse(node.func)}' is not defined"
        if any(word.arg is None for word in node.keywords):
            return "arguments are given by name"
        children = [*node.args, *(word.value for word in node.keywords)]
    elif isinstance(node, ast.Constant):
        children = []
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        children = node.elts
    elif isinstance(node, ast.Dict):
        children = [*node.keys, *node.values]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        children = []
    else:
        return f"{type(node).__name__} is not a literal"
    return next(filter(None, (_refusal(child, allowed) for child in children)), None)


# --- Judging ---


class Brackets:
    """The decoder of BFCL's prompt mode, which Llama's and CoALM's entries in its table use."""

    decode_ast = staticmethod(handling.default_decode_ast_prompting)
    decode_execute = staticmethod(handling.default_decode_execute_prompting)


HANDLERS = {"bracket": Brackets(), "json": HammerHandler.__new__(HammerHandler)}


class Decoded:
    """A handler whose steps are lists of calls already, each of them allowed."""

    @staticmethod
    def decode_execute(calls: list[str]) -> list[str]:
        """Returns the calls."""
        return calls


def score(
    model: str, form: str, rows: dict[str, list[list[Any]]], workers: int
) -> dict[str, list[dict[str, Any]]]:
    """Judges answers with the package's own runners, a share of each category in each process."""
    for category in rows:  # before the processes part, so that each finds them read
        entries(category)
        answers(category)
    jobs = [
        (model, category, form, share)
        for category, answered in rows.items()
        for share in (answered[n::workers] for n in range(workers))
        if share
    ]
    if workers == 1:
        judged = [_score(*job) for job in jobs]
    else:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            judged = pool.starmap(_score, jobs, chunksize=1)
    return {"verdicts": [verdict for share in judged for verdict in share]}


def _score(model: str, category: str, form: str, rows: list[list[Any]]) -> list[dict[str, Any]]:
    handler = HANDLERS[form]
    samples = [dict(entries(category)[index]) for index, _ in rows]  # the runners drop keys of them
    expected = [{"ground_truth": answers(category).get(sample["id"])} for sample in samples]
    results = [{"id": index, "result": result} for index, result in rows]
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        if files.is_relevance_or_irrelevance(category):
            eval_runner.relevance_file_runner(handler, results, samples, model, category, where)
            decoded = [_decoded(handler.decode_ast, result, "Python") for _, result in rows]
        elif files.is_multi_turn(category):
            for sample, result in zip(samples, results, strict=True):
                result["result"] = _allowed_steps(handler, result["result"], sample)
            eval_runner.multi_turn_runner(
                Decoded, results, samples, expected, model, category, where
            )
            decoded = [result["result"] for result in results]
        else:
            language = {"java": "Java", "javascript": "JavaScript"}.get(category, "Python")
            eval_runner.ast_file_runner(
                handler, results, samples, expected, language, category, model, where
            )
            decoded = [_decoded(handler.decode_ast, result, language) for _, result in rows]
        (file,) = where.rglob("*_score.json")
        wrong = {row["id"]: row for row in files.load_file(file)[1:]}
    return [
        _verdict(category, index, calls, wrong.get(index))
        for (index, _), calls in zip(rows, decoded, strict=True)
    ]


def _allowed_steps(
    handler: Any, turns: list[list[str]], entry: dict[str, Any]
) -> list[list[list[str]]]:
    """Decodes each step of each turn, and puts a harmless call in the place of a refused one."""
    allowed = methods(tuple(entry["involved_classes"]))
    return [
        [
            [REFUSED if refusal(call, allowed) else call for call in step]
            for step in (_decoded(handler.decode_execute, text) or [] for text in turn)
        ]
        for turn in turns
    ]


def _decoded(decode: Callable[..., Any], text: str, *more: str) -> Any:
    try:
        return decode(text, *more)
    except Exception:  # the package's own runners take any exception for an unreadable answer
        return None


def _verdict(
    category: str, index: int, decoded: Any, wrong: dict[str, Any] | None
) -> dict[str, Any]:
    verdict = {"category": category, "index": index, "valid": wrong is None, "decoded": decoded}
    if wrong is None:
        return verdict
    error = wrong["error"]
    if isinstance(error, dict):  # as the multi-turn runner reports
        return {**verdict, "type": error["error_type"], "reason": error["error_message"]}
    return {**verdict, "type": wrong["error_type"], "reason": error}


# --- Protocol ---

ACTIONS = {"questions": questions, "execute": execute, "score": score}


def main() -> None:
    """Answers requests until the input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the package prints as it goes
    for line in sys.stdin:
        request = json.loads(line)
        reply = ACTIONS[request.pop("do")](**request)
        replies.write(json.dumps(reply, default=str) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
