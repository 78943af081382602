"""What a server makes of CoALM's answers: whole, and in any cutting of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.core.function import Function
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.served import (
    AnswerStream,
    ReasoningStream,
    ServedAnswer,
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
]  # fmt: skip


def whole(text: str) -> ServedAnswer:
    reasoning, rest = split_reasoning(text)
    answer = read_answer(rest, FUNCTIONS)
    return ServedAnswer(reasoning, answer.content, answer.calls)


def streamed(text: str, cuts: list[int]) -> ServedAnswer:
    """Reads a text piece by piece, as vLLM's parsers do."""
    thoughts, answers = ReasoningStream(), AnswerStream(FUNCTIONS)
    reasoning, content, calls, before = "", "", (), None
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    for end in [*ends, len(text)]:
        is_last = end == len(text)
        if not thoughts.ended:
            piece = thoughts.add(text[:end])
            reasoning += piece.reasoning
            if not thoughts.ended:
                continue
            before = end - len(piece.rest)
        found = answers.add(text[before:end], is_last=is_last)
        content += found.content or ""
        calls += found.calls
    return ServedAnswer(reasoning or None, content or None, calls)


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_a_whole_answer(text: str, answer: ServedAnswer):
    assert whole(text) == answer


@pytest.mark.parametrize(("text", "answer"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_the_same(text: str, answer: ServedAnswer, size: int):
    if len(text) < 20 and size == 1000:
        pytest.skip("one piece that is shorter than any label")
    assert streamed(text, list(range(size, len(text), size))) == answer


def test_a_call_that_cannot_be_read_is_content():
    text = "Action: find(city='Ely'"
    assert whole(text) == ServedAnswer(None, text)
    assert streamed(text, [5, 12]) == ServedAnswer(None, text)


@given(
    st.text(alphabet="ThougtAcinSysem: \n()[]{}'\"=,x1", max_size=50), st.lists(st.integers(1, 50))
)
def test_any_text_in_any_pieces(text: str, cuts: list[int]):
    whole(text)
    streamed(text, cuts)
