import json
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oumi.core.types.conversation import Role

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.failures import Failure, classify
from coalm_oumi.formats import calls, native
from coalm_oumi.formats.calls import CallError, FunctionCall
from tests.support.damage import SNIPPETS

FUNCTION = {
    "name": "book",
    "description": "Books.",
    "parameters": {
        "type": "dict",
        "properties": {"day": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["day"],
    },
}
RIGHT = (
    '[{"name": "book", "arguments": {"day": "Monday", "people": [1, 2.5, null]}}]',
    "[book(day='Monday', people=(1, -2.5)), a.b(x={'y': None})]",
    '<tool_call>\n{"name": "book", "arguments": {"day": "Monday"}}\n</tool_call>',
)

READERS = {
    "calls.parse_json": calls.parse_json,
    "calls.parse_python": calls.parse_python,
    "calls.parse_bracket": calls.parse_bracket,
    "coalm": styles.read_list,
    "native": native.read_native,
}


@st.composite
def damaged_answers(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(RIGHT))
    for _ in range(draw(st.integers(1, 6))):
        first = draw(st.integers(0, len(text)))
        last = draw(st.integers(first, min(len(text), first + 8)))
        text = text[:first] + draw(st.sampled_from(SNIPPETS) | st.text(max_size=3)) + text[last:]
    return text


@settings(max_examples=400, deadline=None)
@given(damaged_answers() | st.text())
@example("[" * 100_000)
@example("f(x=" + "-" * 100_000 + "1)")
@example("f(x=" + "[" * 3000 + "]" * 3000 + ")")
@example("f(x=" + "1+" * 20_000 + "1)")
@example("f(x=" + "g(y=" * 150 + "1" + ")" * 151)
@example('[{"name": "f", "arguments": {"x": ' + "9" * 5000 + "}}]")
@example("[{}" * 50_000)
def test_damaged_answers_raise_only_the_readers_error(text: str):
    """`benchmarks/fuzz_readers.py` does it 100,000 times."""
    for read in READERS.values():
        try:
            read(text)
        except CallError:
            continue


def test_figure_5_is_asked_as_its_model_was_trained():
    style = styles.STYLES["coalm"]
    (message,) = style.ask([{"role": "user", "content": "For Monday."}], [FUNCTION], [])
    assert message.role == Role.USER
    described = {
        **FUNCTION,
        "parameters": {"day": {"type": "string", "required": True}, "people": {"type": "integer"}},
    }
    assert json.dumps(described) in str(message.content)
    assert str(message.content).endswith("[BEGIN OF QUERY]\nFor Monday.\n[END OF QUERY]")
    told = style.tell("[...]", ["book(day='Monday')"], ["booked"])
    assert [m.role for m in told] == [Role.ASSISTANT, Role.USER]
    assert "book(day='Monday'): booked" in str(told[1].content)


def test_native_calls_and_results_are_told_apart():
    style = styles.STYLES["native"]
    answer = '[{"name": "book", "arguments": {"day": "Monday"}}, {"name": "now", "arguments": {}}]'
    assistant, first, second = style.tell(answer, ["", ""], ["booked", "noon"])
    assert [call.function.name for call in assistant.tool_calls or []] == ["book", "now"]
    assert (first.role, first.content, second.content) == (Role.TOOL, "booked", "noon")
    assert first.tool_call_id != second.tool_call_id


def test_native_calls_left_in_the_text_are_written_for_the_official_decoder():
    text = 'So: <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    official = styles.STYLES["native"].official(text)
    assert calls.parse_json(official) == [FunctionCall("f", {"x": 1})]
    assert styles.STYLES["native"].official("No.") == ""


def test_figure_5_is_read_as_strictly_as_hammers_decoder_in_bfcl():
    call = '{"name": "f", "arguments": {}}'
    assert styles.read_list(f"```\n[{call}]\n```") == [FunctionCall("f")]
    assert styles.read_list("[]") == []
    for text in (call, f"```json\n[{call}]\n```", '[{"name": "f"}]', '[{"arguments": {}}]', "no"):
        with pytest.raises(CallError):
            styles.read_list(text)


def test_failures_are_named_in_the_order_of_reading():
    f, g = FunctionCall("f", {"x": 1}), FunctionCall("g")
    assert classify(None, [f]) is Failure.FORMAT
    assert classify([g, f], [f, g]) is None
    assert classify([f], []) is Failure.OVER_CALLING
    assert classify([f, f], [f]) is Failure.OVER_CALLING
    assert classify([], [f]) is Failure.MISSING_CALL
    assert classify([g], [f]) is Failure.WRONG_FUNCTION
    assert classify([FunctionCall("f", {"x": "1"})], [f]) is Failure.WRONG_TYPE
    assert classify([FunctionCall("f", {"x": 2})], [f]) is Failure.WRONG_ARGUMENT
    assert classify([FunctionCall("f", {"x": 1, "y": 2})], [f]) is Failure.WRONG_ARGUMENT


def test_a_chat_template_that_leaves_tools_out_is_refused():
    class Tokenizer:
        def __init__(self, template: str) -> None:
            self.template = jinja2.Template(template)

        def apply_chat_template(self, messages, *, tools, **_) -> str:
            return self.template.render(messages=messages, tools=tools)

    def engine(template: str) -> Any:
        return SimpleNamespace(_tokenizer=Tokenizer(template))

    style = styles.STYLES["native"]
    without, with_ = "{{ messages[0].content }}", "{{ tools }}{{ messages[0].content }}"
    styles.check_template(style, engine(with_))
    styles.check_template(styles.STYLES["bfcl"], engine(without))
    with pytest.raises(CoalmError, match="leaves out functions"):
        styles.check_template(style, engine(without))
