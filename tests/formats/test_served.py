"""What a server makes of CoALM's answers: whole, and in any cutting of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.core.function import Function
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.served import (
    ServedAnswer,
    ServedStream,
    read_answer,
    split_reasoning,
)

FUNCTIONS = [Function("find", "Find.", required=("city",))]
ELY, YORK = (FunctionCall("find", {"city": city}) for city in ("Ely", "York"))
LIST = '[{"name": "find", "arguments": {"city": "Ely"}}, {"name": "find", "arguments": {"city": "York"}}]'
CASES = [
    ("Thought: I look.\nAction: find(city='Ely')", ServedAnswer("I look.", None, (ELY,))),
    ("Thought: one\ntwo\nSystem: Hi there.\nAll fine.", ServedAnswer("one\ntwo", "Hi there.\nAll fine.")),
    ("System: Hello", ServedAnswer(None, "Hello")),
    ("Hello, how are you today?", ServedAnswer(None, "Hello, how are you today?")),
    (LIST, ServedAnswer(None, None, (ELY, YORK))),
    (f"Thought: Two cities.\n{LIST}", ServedAnswer("Two cities.", None, (ELY, YORK))),
    ("Action: find(city='Ely')\nObservation: imagined", ServedAnswer(None, None, (ELY,))),
    ("System: Hello\nUser: imagined", ServedAnswer(None, "Hello")),
    ("Hi!", ServedAnswer(None, "Hi!")),
    ("Thought: Hm.", ServedAnswer("Hm.", None)),
    ("Thought: one\ntwo", ServedAnswer("one\ntwo", None)),
    ("Thought: I look.\nfind(city='Ely')", ServedAnswer("I look.", None, (ELY,))),
    ("Thought: Two.\nAction: find(city='Ely')\nAction: find(city='York')",
     ServedAnswer("Two.", None, (ELY,))),
    ("Good morning\nSystem: Hello", ServedAnswer(None, "Good morning\nHello")),
]  # fmt: skip


def whole(text: str, *, may_call: bool = True) -> ServedAnswer:
    reasoning, rest = split_reasoning(text)
    answer = read_answer(rest, FUNCTIONS, may_call=may_call)
    return ServedAnswer(reasoning, answer.content or None, answer.calls)


def streamed(text: str, cuts: list[int], *, may_call: bool = True) -> ServedAnswer:
    """Reads a text piece by piece."""
    stream = ServedStream(FUNCTIONS, may_call=may_call)
    reasoning, content, calls = "", "", ()
    for end in sorted({min(cut, len(text)) for cut in cuts} | {len(text)}):
        piece = stream.add(text[:end], is_last=end == len(text))
        reasoning += piece.reasoning or ""
        content += piece.content or ""
        calls += piece.calls
    return ServedAnswer(reasoning or None, content or None, calls)


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_a_whole_answer(text: str, answer: ServedAnswer):
    assert whole(text) == answer


@pytest.mark.parametrize(("text", "answer"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_the_same(text: str, answer: ServedAnswer, size: int):
    assert streamed(text, list(range(size, len(text), size))) == answer


@pytest.mark.parametrize(
    "text",
    ["Action: find(city='Ely'", '[{"name": "find", "arguments": {"city": 1e999}}]'],
    ids=["cut off", "a number that JSON cannot write again"],
)
def test_a_call_that_cannot_be_read_is_content(text: str):
    assert whole(text) == ServedAnswer(None, text)
    assert streamed(text, [5, 12]) == ServedAnswer(None, text)


@pytest.mark.parametrize("call", ["Action: find(city='Ely')", "find(city='Ely')", LIST])
def test_a_call_that_may_not_be_made_is_content_once(call: str):
    text = f"Thought: I look.\n{call}\nObservation: imagined"
    expected = ServedAnswer("I look.", call)
    assert whole(text, may_call=False) == expected
    assert streamed(text, list(range(1, len(text))), may_call=False) == expected


_PIECES = [
    "Thought: ",
    "Action: ",
    "System: ",
    "Observation: ",
    "User: ",
    "find(",
    "city=",
    "'Ely'",
    ")",
    "\n",
    "[",
    "]",
    "{",
    '"name": "find", "arguments": {}',
    "}",
    "hm ",
    ":",
    "x",
    "`",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join), st.lists(st.integers(1, 50)))
def test_any_text_in_any_pieces(text: str, cuts: list[int]):
    found, expected = streamed(text, cuts), whole(text)
    assert found.calls == expected.calls
    assert (found.reasoning or "").split() == (expected.reasoning or "").split()
    assert (found.content or "").split() == (expected.content or "").split()
