"""Times every reader of model text on what a model in a loop writes.

    python benchmarks/reader_growth.py [--characters 8000] [--reader native]

A text consists of a beginning, a repeated unit and an end. Each reader reads it at n, 2n and 4n
characters. A linear reader takes four times as long at 4n as at n. One line per reader prints its
worst text, the three times and the growth from n to 4n. A growth above 8 ends the run with an
error.
"""

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Callable

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import loads_model, unfenced
from coalm_oumi.data.cra import transcript
from coalm_oumi.formats import calls, native, react, served, states

FUNCTION = Function("f", "Does it.", ("x",))
READERS: dict[str, Callable[[str], object]] = {
    "jsontext.loads_model": loads_model,
    "jsontext.unfenced": unfenced,
    "calls.parse_json": calls.parse_json,
    "calls.parse_python": calls.parse_python,
    "calls.parse_bracket": calls.parse_bracket,
    "native.read_native": native.read_native,
    "native.looks_like_a_call": native.looks_like_a_call,
    "react.read_coalm": lambda text: react.read_coalm(text, [FUNCTION]),
    "react.read_autotod": lambda text: react.read_autotod(text, [FUNCTION], {"f": "f"}),
    "served.split_reasoning": served.split_reasoning,
    "served.read_answer": lambda text: served.read_answer(text, [FUNCTION]),
    "states.parse_state": states.parse_state,
    "transcript.parse_all": transcript.parse_all,
}
REFUSALS = (
    ValueError,
    calls.CallError,
    react.ReactError,
    states.StateError,
    transcript.TranscriptError,
)
UNITS = [
    *"\n []{}()<>\"'\\,:=-+1a#*|.", "\t", "[]", "{}", "()", "[{", "}]", "\\u00", "not ", "f(",
    "f(x=", "f(x=1)", "f(x=1), ", "[f(x=1)]", "x=1, ", "'a', ", '"a": ', '{"a": ',
    '{"name": "f", "arguments": {}}', '{"name": "f", "arguments": ', "```", "```json\n",
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>", "<function=f>",
    "</function>", "<parameter=x>", "[TOOL_CALLS]", "[ARGS]", "f[ARGS]{", "Action: ",
    "Action Input: ", "Thought: ", "System: ", "User: ", "Observation: ", "\nAction: f(x=1)",
    "\nThought: a", "\nSystem: a", "\nUser: a", "API Input: ", "API Input: k: a\n",
    "\nAPI Input: k: a", "API Name: f\n", "**", "a: b\n", "a=b; ", "[a] b ",
]  # fmt: skip
ENDS = [
    ("", ""),
    ("", "x"),
    ("[", "]"),
    ("f(x='", "')"),
    ("API Input: k: a", "x"),
    ("Action: f(x='", ""),
    ("User: a\nAction: f(x=1)", "x"),
    ("<tool_call>", "x"),
    ('{"name": "f", "arguments": {"x": "', '"}}'),
]
MOST = 8.0
QUIET = 0.01
"""Seconds. Below them at 4n the growth is not looked at: it is noise."""


def seconds(read: Callable[[str], object], text: str) -> float:
    """Times one reading; the reader may refuse the text with its own error."""
    start = time.process_time()
    with contextlib.suppress(*REFUSALS):
        read(text)
    return time.process_time() - start


def main() -> None:
    """Times them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=8_000, help="n")
    parser.add_argument("--reader", default="", help="only readers with this in their name")
    options = parser.parse_args()
    n, faults = options.characters, 0
    for name, read in READERS.items():
        if options.reader not in name:
            continue
        worst = (0.0, 0.0, [0.0] * 3, "")
        for unit, (begin, end) in itertools.product(UNITS, ENDS):
            texts = [begin + unit * (size // len(unit)) + end for size in (n, 2 * n, 4 * n)]
            times = [seconds(read, texts[-1])]
            growth = 0.0
            if times[0] > QUIET:
                times = [min(seconds(read, text) for _ in range(2)) for text in texts]
                growth = times[2] / times[0] if times[2] > QUIET else 0.0
            worst = max(worst, (growth, times[-1], times, f"{begin}{unit!r}*{end}"))
        growth, _, times, text = worst
        shown = "  ".join(f"{1000 * value:8.1f} ms" for value in times)
        print(f"{name:<26}{growth:6.1f}x  {shown}  {text}", flush=True)
        faults += growth > MOST
    if faults:
        sys.exit(f"{faults} readers grow faster than the text")


if __name__ == "__main__":
    main()
