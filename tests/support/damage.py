"""Answers of several qualities: right ones from references, and systematically damaged ones."""

import json
import random
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from coalm_oumi.evaluation.bfcl.client import BfclEntry

SNIPPETS = ("(", ")", "[", "]", "{", "}", "'", '"', ",", "=", ":", "-", "+", "1", "2 + 3", "'a' * 2",
    "not ", "f(x=1)", "g()", "a.b(", "**{}", "\\", "\n", "```", "lambda: 0", "...", "é", "\x00",
    "1e5", "x[0]", "(1, 2)", "{1: 2}", "None", "true", "]]", " if ", "~", "0x", "f'{x}'")  # fmt: skip


def pick(values: Any) -> Any:
    """Returns the first of the values that BFCL accepts for an argument."""
    if not isinstance(values, list):
        return values
    given = [value for value in values if value != ""]
    if not given:
        return None
    first = given[0]
    if isinstance(first, dict):
        return _filled(first)
    if isinstance(first, list):
        return [_filled(item) if isinstance(item, dict) else item for item in first]
    return first


def _filled(arguments: dict[str, Any]) -> dict[str, Any]:
    found = {name: pick(values) for name, values in arguments.items()}
    return {name: value for name, value in found.items() if value is not None}


def expected_calls(entry: BfclEntry) -> list[tuple[str, dict[str, Any]]]:
    """Returns the calls of a single-turn reference."""
    return [(name, _filled(given)) for call in entry.expected or [] for name, given in call.items()]


def right_answer(entry: BfclEntry, form: str) -> Any:
    """Writes the reference of a sample as a model would."""
    if entry.is_agentic:
        said = f"{{'answer': {entry.expected[0]!r}, 'context': 'It says so.'}}"
        called = '[{"name": "look", "arguments": {}}]' if form == "json" else "[look(at='it')]"
        return [[called, said]]
    if entry.prompt_form:
        return varied_answer(entry)
    if entry.category.startswith("multi_turn"):
        return [
            [f"[{', '.join(turn)}]", "That is done."] if turn else ["No."]
            for turn in entry.expected
        ]
    if "irrelevance" in entry.category:
        return "None of these functions helps."
    calls = expected_calls(entry) if entry.expected else [("f", {"x": 1})]
    if form == "json":
        return json.dumps([{"name": name, "arguments": given} for name, given in calls])
    write = json.dumps if entry.category.endswith(("java", "javascript")) else repr
    written = (
        f"{n}({', '.join(f'{k}={write(v)}' for k, v in given.items())})" for n, given in calls
    )
    return f"[{', '.join(written)}]"


CALLED = {"bracket": "[f(x=1), g(y='a')]", "json": '[{"name": "f", "arguments": {"x": 1}}]'}
"""Calls of functions that no sample has, by the form of answers."""


def answers_of_all_qualities(entries: Sequence[BfclEntry], form: str, seed: int) -> list[Any]:
    """A third of the answers right, the rest damaged; of conversations a fifth of the steps."""
    random_ = random.Random(seed)
    right = [right_answer(entry, form) for entry in entries]
    if not entries[0].is_conversation:
        others = [*right, *[CALLED[form]] * len(right)]
        return [
            text if random_.random() < 0.33 else damaged(text, others, random_) for text in right
        ]
    steps = [step for answer in right for turn in answer for step in turn]
    return [
        [
            [step if random_.random() < 0.8 else damaged(step, steps, random_) for step in turn]
            for turn in answer
        ]
        for answer in right
    ]


def varied_answer(entry: BfclEntry) -> str:
    """Writes the reference in the form that a question of `format_sensitivity` asks for."""
    asked = dict(part.split("=") for part in str(entry.prompt_form).split("&"))
    found = expected_calls(entry)
    if asked["ret_fmt"] == "python":
        calls = (f"{n}({', '.join(f'{k}={v!r}' for k, v in given.items())})" for n, given in found)
        text = f"[{', '.join(calls)}]"
    elif asked["ret_fmt"] == "json":
        text = json.dumps([{"function": n, "parameters": given} for n, given in found])
    else:
        text = _xml(found, verbose=asked["ret_fmt"] == "verbose_xml")
    return f"<TOOLCALL>{text}</TOOLCALL>" if asked["tool_call_tag"] == "True" else text


def _xml(found: list[tuple[str, dict[str, Any]]], *, verbose: bool) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", float: "float", list: "array"}
    root = ElementTree.Element("functions")
    for name, given in found:
        function = ElementTree.SubElement(root, "function", name=name)
        params = ElementTree.SubElement(function, "params") if verbose else function
        for key, value in given.items():
            param = ElementTree.SubElement(params, "param", name=key)
            param.set("type", kinds.get(type(value), "object"))
            if verbose:
                param.set("value", str(value))
            else:
                param.text = str(value)
    return ElementTree.tostring(root, encoding="unicode")


def damaged(text: str, others: Sequence[str], random_: random.Random) -> str:
    """Damages an answer in one of the ways in which models fail."""
    kind = random_.randrange(10)
    if kind == 0:
        return random_.choice(others)
    if kind == 1:
        return text[: random_.randrange(len(text) + 1)]
    if kind == 2:
        return f"```{random_.choice(['', 'json', 'python'])}\n{text}\n```"
    if kind == 3:
        return f"Sure, here you are: {text}"
    if kind == 4:
        return text.strip("[]")
    if kind == 5:
        return text.replace("=", ":" if random_.random() < 0.5 else "= ", 1)
    if kind == 6:
        return text.replace(", ", ", 7, ", 1)
    if kind == 7:  # whitespace that is no damage to a reader of Python or JSON, or should be none
        return text.replace("[", "[\n  ", 1).replace(", ", ",\n  ")
    marks = list(text)
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(len(marks) + 1)
        if random_.random() < 0.4:
            del marks[place : place + 1]
        else:
            marks.insert(place, random_.choice(SNIPPETS))
    return "".join(marks)
