import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall

names = st.text(
    st.characters(exclude_characters="()[]{}\"'\n,=", categories=("L", "N")), min_size=1
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
function_calls = st.builds(FunctionCall, names, st.dictionaries(names, values, max_size=4))


@given(st.lists(function_calls, max_size=3))
def test_the_json_form_is_read_back(written: list[FunctionCall]):
    assert calls.parse_json(calls.to_json(written)) == written


@given(function_calls)
def test_the_python_form_is_read_back(call: FunctionCall):
    assert calls.parse_python(calls.to_python(call)) == call


@given(st.text())
@pytest.mark.parametrize(
    "parse", [calls.parse_json, calls.parse_python, calls.parse_bracket, calls.parse_literal]
)
def test_any_text_is_read_or_refused(parse, text: str):
    with contextlib.suppress(CallError):
        parse(text)


@given(st.text("[](){}=,'\"\\:a1.-+e \nTrue", max_size=60))
@pytest.mark.parametrize("parse", [calls.parse_python, calls.parse_bracket, calls.parse_literal])
def test_text_close_to_a_call_is_read_or_refused(parse, text: str):
    with contextlib.suppress(CallError):
        parse(text)


def test_bracket_form():
    text = '[Market Trends API(trend_type="MARKET_INDEXES", country="us"), weather.forecast()]'
    assert calls.parse_bracket(text) == [
        FunctionCall("Market Trends API", {"trend_type": "MARKET_INDEXES", "country": "us"}),
        FunctionCall("weather.forecast"),
    ]
    assert calls.parse_bracket("[]") == []


def test_values_in_brackets():
    text = (
        r"""[f(a=[1, -2.5e3], b={"k": (true, None)}, c='it\'s, (odd] "x"', d="\u00e9\n", from=0)]"""
    )
    (call,) = calls.parse_bracket(text)
    assert call.arguments == {
        "a": [1, -2500.0],
        "b": {"k": [True, None]},
        "c": 'it\'s, (odd] "x"',
        "d": "é\n",
        "from": 0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[f(a="x"]', "expected `,` at character 8"),
        ("[f(a=1, a=2)]", "each name once"),
        ("[f(a=__import__)]", "expected a value"),
        ("[f(a='x", "closing '"),
        ("[f()] and more", "expected the end"),
        ("[(a=1)]", "expected a function name"),
        ("[f(a=" + "[" * 65 + "]" * 65 + ")]", "nested deeper"),
        ("[f(a=1e999)]", "out of range"),
        ("[f(a=" + "9" * 5000 + ")]", "too many digits"),
        ("[f(a={1: 2})]", "text as a key"),
    ],
)
def test_what_is_no_bracket_form(text: str, message: str):
    with pytest.raises(CallError, match=message):
        calls.parse_bracket(text)


@pytest.mark.parametrize(
    "text",
    ["", "null", '"f"', "[1]", '[{"arguments": {}}]', '[{"name": "f", "arguments": []}]',
     '[{"name": " "}]', '[{"name": "f", "arguments": {"x": NaN}}]', "[" * 100_000,
     '[{"name": "f", "arguments": {"x": ' + "[" * 65 + "]" * 65 + "}}]"],
)  # fmt: skip
def test_what_is_no_json_form(text: str):
    with pytest.raises(CallError):
        calls.parse_json(text)


def test_json_in_a_fence_and_alone():
    expected = [FunctionCall("f", {"x": 1})]
    assert calls.parse_json('```json\n[{"name": "f", "arguments": {"x": 1}}]\n```') == expected
    assert calls.parse_json('{"name": "f", "arguments": {"x": 1}}') == expected
    assert calls.parse_json("```\n[]\n```") == []
    assert calls.parse_json('```JSON [{"name": "f", "arguments": {"x": 1}}]```') == expected


def test_the_order_of_arguments_does_not_matter():
    assert FunctionCall("f", {"a": 1, "b": 2}) == FunctionCall("f", {"b": 2, "a": 1})


def test_escapes():
    assert calls.parse_literal(r'"\x41\u00e9\U0001f355\ud83c\udf55\q\xzz"') == "Aé🍕🍕\\q\\xzz"
    assert calls.parse_literal(r'"\ud83c"') == "\ufffd"


def test_numbers_keep_their_type():
    assert [type(calls.parse_literal(text)) for text in ("1", "1.0", "1e2", "+3", ".5")] == [
        int, float, float, int, float,
    ]  # fmt: skip
    assert math.isclose(calls.parse_literal("-.25"), -0.25)
