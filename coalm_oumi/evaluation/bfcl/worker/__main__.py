"""Runs inside the environment of `bfcl-eval`: provides questions, executes and judges calls.

    python -I worker (v3 | v4) RELEASE

`coalm_oumi` is not installed there, so the files of this folder import only each other. The
worker reads one JSON request per line and writes one JSON reply per line, or one for each step of
`execute` and each batch of `score` as soon as it is done:

    {"do": "questions", "category": c}
    {"do": "read", "form": "json" | "bracket", "texts": [text]}
    {"do": "execute", "steps": [{"category": c, "index": i, "calls": ["f(a=1)"]}]}
    {"do": "score", "without_dots": b, "form": f, "rows": {c: [[i, result]]}}
    {"do": "models"}, {"do": "describe", "model": m}
    {"do": "ask", "model": m, "places": [[c, i]], "first": {place: messages}}
    {"do": "step", "model": m, "steps": [{"category": c, "index": i, "answer": a}]}, where `results`
        or `turn` may replace `answer`
    {"do": "check", "class_name": name}, {"do": "recall" | "keep", "category": c, "index": i}

A sample is named by its index in the official order of its category. Questions, function
descriptions, prompts, decoders and checkers are the package's own.
"""
# pyright: standard

import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import common
import model_table
import official
import patches
from lifetime import end_with_parent
from limit import limit
from safety import refusal

patches.check_release(sys.argv[2])
package: Any = importlib.import_module(sys.argv[1])

BATCH = 16
"""Answers that a process judges before it replies."""
MAX_SECONDS = 30.0
"""Seconds for judging one answer. Usually it takes a moment, but some expressions never end."""
FAILED = "checker:failed"
"""The type of error of an answer that the package could not judge."""

_Batch = tuple[str, str, str, list[list[Any]]]


def questions(category: str) -> list[dict[str, Any]]:
    """Returns a category's samples, and the reference of each."""
    pairs = zip(package.questions(category), package.references(category), strict=True)
    return [{**asked, "expected": reference} for asked, reference in pairs]


def read(form: str, texts: list[str]) -> list[list[str] | None]:
    """Returns the calls that are executed at each step, None if it is a message."""
    return [package.read(form, text) or None for text in texts]


def ask(model: str, places: list[list[Any]], first: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Returns the first request of the handler of a model of the table for each sample.

    Args:
        model: The model's name in the table.
        places: The category and the index of each sample.
        first: Messages that replace a sample's first turn, by its place in `places`.
    """
    entries = []
    for place, (category, index) in enumerate(places):
        entry = package.asked(category)[index]
        if str(place) in first:
            entry = {**entry, "question": [first[str(place)], *entry["question"][1:]]}
        entries.append(entry)
    return official.ask(model, entries, [(category, index) for category, index in places])


def execute(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Executes the calls of steps of different samples, and returns the result of each.

    The environment of a sample lasts from step to step, so its steps run in order. Steps of the web
    keep no state, so they run concurrently, in separate processes.
    """
    if not all(step["category"].startswith("web_search") for step in steps):
        for place, step in enumerate(steps):
            yield {"step": place, "results": _execute(step)}
        return
    with _processes(len(steps), [step["category"] for step in steps]) as pool:
        places = {pool.submit(_execute, step): place for place, step in enumerate(steps)}
        for done in as_completed(places):
            yield {"step": places[done], "results": done.result()}


def _processes(count: int, categories: Iterable[str]) -> ProcessPoolExecutor:
    """Starts processes that inherit the loaded categories."""
    for category in categories:
        package.entries(category)
        package.references(category)
    return ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("fork"), initializer=end_with_parent
    )


def _execute(step: dict[str, Any]) -> list[str]:
    entry = package.entries(step["category"])[step["index"]]
    results = []
    for call in step["calls"]:
        reason = refusal(call, common.allowed(entry))
        result = f"Error during execution: {reason}" if reason else package.execute(entry, call)
        results.append(result)
    return results


def score(
    *, without_dots: bool, form: str, rows: dict[str, list[list[Any]]]
) -> Iterator[list[dict[str, Any]]]:
    """Judges answers with the package's own runners on all cores.

    Yields:
        Verdicts as they arrive, and at the end an empty list.
    """
    common.decoder(form)  # before the processes start, which then inherit it
    if form in model_table.entries():
        without_dots = model_table.entries()[form].underscore_to_dot
    model = model_table.MODEL_WITHOUT_DOTS if without_dots else model_table.MODEL
    batches: list[_Batch] = []
    for category, answered in rows.items():
        for first in range(0, len(answered), BATCH):
            batches.append((model, category, form, answered[first : first + BATCH]))
    crashed: list[_Batch] = []
    with _processes(os.cpu_count() or 1, rows) as pool:
        jobs = {pool.submit(_score, *batch): batch for batch in batches}
        for done in as_completed(jobs):
            try:
                yield done.result()
            except BrokenProcessPool:
                crashed.append(jobs[done])
    for batch in crashed:  # one of them crashed the process, and the others were lost with it
        yield from _score_apart(*batch)
    yield []


def _score_apart(
    model: str, category: str, form: str, rows: list[list[Any]]
) -> Iterator[list[dict[str, Any]]]:
    """Judges a batch in a separate process, and if that crashes, each answer in one."""
    with _processes(1, [category]) as pool:
        try:
            yield pool.submit(_score, model, category, form, rows).result()
            return
        except BrokenProcessPool:
            pass
    if len(rows) > 1:
        for row in rows:
            yield from _score_apart(model, category, form, [row])
        return
    ((index, _),) = rows
    verdict = {"category": category, "index": index, "valid": False, "decoded": None}
    yield [{**verdict, "type": FAILED, "reason": "the process that judged it crashed"}]


def _score(model: str, category: str, form: str, rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [_verdict(model, category, form, index, answer) for index, answer in rows]


def _verdict(model: str, category: str, form: str, index: int, answer: Any) -> dict[str, Any]:
    sample = dict(package.entries(category)[index])  # the runners drop keys of it
    expected = package.references(category)[index]
    try:
        with limit(MAX_SECONDS):
            decoded, wrong = package.judge(category, form, model, sample, answer, expected)
    except Exception as error:  # at what no one thought of, a runner would stop judging for all
        decoded, wrong = None, {"error": repr(error), "error_type": FAILED}
    verdict = {"category": category, "index": index, "valid": wrong is None}
    verdict["decoded"] = _plain(decoded)
    if wrong is None:
        return verdict
    error = wrong["error"]
    if isinstance(error, dict):  # as the runners of conversations report
        return {**verdict, "type": error["error_type"], "reason": _plain(error["error_message"])}
    return {**verdict, "type": wrong["error_type"], "reason": _plain(error)}


def _plain(value: Any, levels: int = 100) -> Any:
    """Makes a value writable as JSON and by pickle: odd or too deep parts become text."""
    if levels and isinstance(value, list | tuple):
        return [_plain(item, levels - 1) for item in value]
    if levels and isinstance(value, dict):
        return {_as_key(key): _plain(item, levels - 1) for key, item in value.items()}
    if value is None or isinstance(value, str | float | bool):
        return value
    text = _as_text(value)
    return value if isinstance(value, int) and not text.startswith("<") else text


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else _as_text(key)


def _as_text(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError) as error:  # too many digits, or levels
        return f"<{type(value).__name__}: {error}>"


# --- Protocol ---


def main() -> None:
    """Answers requests until the input ends."""
    actions = {"questions": questions, "read": read, "execute": execute, "score": score}
    actions |= {"ask": ask, "step": official.step}
    actions |= {"models": official.models, "describe": official.describe}
    actions |= package.ACTIONS
    end_with_parent()
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the package prints messages
    for line in sys.stdin:
        request = json.loads(line)
        reply = actions[request.pop("do")](**request)
        for one in reply if isinstance(reply, Iterator) else [reply]:
            stream.write(json.dumps(one, default=str) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
