"""Compares the reader of native tool calls with each model's decoder, over recorded answers.

    python benchmarks/native_reader.py ../shared/data/bfcl/recorded_2024_08

The folder holds a folder per model with BFCL result files (`{id, result}` per line). The decoders
are those that bfcl-eval had for these models in August 2024. An answer that a decoder cannot read
counts as one without calls. For each model the script prints the number of answers, the answers in
which each side reads calls, and those that both sides read alike.
"""

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coalm_oumi.formats import native
from coalm_oumi.formats.calls import CallError

Calls = list[tuple[str, Any]]


def hermes(text: str) -> Calls:
    """Reads the line after each line `<tool_call>`, with double quotes for single ones."""
    lines = text.split("\n")
    marked = [b for a, b in itertools.pairwise(lines) if a == "<tool_call>"]
    records = [json.loads(line.replace("'", '"')) for line in marked if line != "</tool_call>"]
    return [(record["name"], record["arguments"]) for record in records]


def xlam(text: str) -> Calls:
    """Reads an object with `tool_calls`, or a list."""
    value = json.loads(text)
    records = value["tool_calls"] if isinstance(value, dict) else value
    return [(record["name"], record["arguments"]) for record in records]


def granite(text: str) -> Calls:
    """Reads the JSON after each `<function_call>`."""
    parts = [part.strip() for part in text.split("<function_call>") if part.strip()]
    records = [json.loads(part) for part in parts]
    found = [(record["name"].strip(), record.get("arguments", {})) for record in records]
    return [call for call in found if call[0] != native.NO_FUNCTION]


def tool_calls(result: Any) -> Calls:
    """Reads calls as bfcl-eval records those of OpenAI's API."""
    if isinstance(result, str):
        return []
    return [(name, json.loads(given or "{}")) for call in result for name, given in call.items()]


DECODERS: dict[str, Callable[[Any], Calls]] = {
    "NousResearch_Hermes-2-Theta-Llama-3-8B": hermes,
    "Salesforce_xLAM-7b-fc-r": xlam,
    "ibm-granite_granite-20b-functioncalling": granite,
    "gpt-4o-2024-08-06-FC": tool_calls,
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"{'model':<42}{'answers':>8}{'decoder':>9}{'reader':>8}{'same':>7}")
    for model, decode in DECODERS.items():
        answers = [
            json.loads(line)["result"]
            for file in sorted((folder / model).glob("*.jsonl"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        theirs = [decoded(decode, answer) for answer in answers]
        ours = [read(answer) for answer in answers]
        same = sum(a == b for a, b in zip(theirs, ours, strict=True))
        counts = sum(map(bool, theirs)), sum(map(bool, ours)), same
        print(f"{model:<42}{len(answers):>8}{counts[0]:>9}{counts[1]:>8}{counts[2]:>7}")


def decoded(decode: Callable[[Any], Calls], answer: Any) -> Calls:
    try:
        return decode(answer)
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def read(answer: Any) -> Calls:
    if not isinstance(answer, str):  # an API's calls, as an engine of Oumi hands them on
        records = [{"name": n, "arguments": given} for call in answer for n, given in call.items()]
        answer = json.dumps(records)
    try:
        return [(call.name, dict(call.arguments)) for call in native.read_native(answer)]
    except CallError:
        return []


if __name__ == "__main__":
    main()
