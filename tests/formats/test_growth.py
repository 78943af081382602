"""If a model repeats itself endlessly, the time of each reader stays linear in the length."""

import contextlib
import importlib.util
from collections.abc import Callable

import pytest

from tests.conftest import REPO

_spec = importlib.util.spec_from_file_location(
    "reader_growth", REPO / "benchmarks/reader_growth.py"
)
assert _spec and _spec.loader
growth = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(growth)

LOOPS = (
    ("API Input: k: a", "\n", "x"),
    ("User: a\nAction: f(x=1)", "\nSystem: a", "x"),
    ("", "[]", ""),
    ("", "[{", "x"),
    ("", "f[ARGS]{", ""),
    ("", '{"name": "f", "arguments": ', ""),
    ("<tool_call>", "<think>", ""),
    ("[", "f(x=1), ", "]"),
    ("Action: f(x='", "\nThought: a", ""),
)


@pytest.mark.parametrize("read", growth.READERS.values(), ids=growth.READERS.keys())
def test_no_reader_grows_faster_than_the_text(read: Callable[[str], object]):
    """A reader whose time grows with the square of the length does not come back from these.

    `benchmarks/reader_growth.py` measures the growth, over many more texts.
    """
    for begin, unit, end in LOOPS:
        with contextlib.suppress(*growth.REFUSALS):
            read(begin + unit * (100_000 // len(unit)) + end)
