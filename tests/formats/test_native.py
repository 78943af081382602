import contextlib
import json
import random
import time

import pytest

from coalm_oumi.formats import calls, native
from coalm_oumi.formats.calls import CallError, FunctionCall

F = FunctionCall("f", {"x": 1})
G = FunctionCall("g")
CALL = '{"name": "f", "arguments": {"x": 1}}'


@pytest.mark.parametrize(
    "text",
    [
        f'<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{{"name": "g", "arguments": {{}}}}</tool_call>',
        f'[TOOL_CALLS] [{CALL}, {{"name": "g", "arguments": {{}}}}]',
        '[TOOL_CALLS]f[ARGS]{"x": 1}[TOOL_CALLS]g[CALL_ID]a1b2c3d4e[ARGS]{}',
        '<|python_tag|>{"name": "f", "parameters": {"x": 1}}; {"name": "g", "parameters": {}}',
        f'<function_call> {CALL} <function_call> {{"name": "g", "arguments": {{}}}}',
        '<function=f>{"x": 1}</function><function=g>{}</function>',
        '<function=f>{"x": 1}<function=g>{}',
        "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=g>\n</function>\n</tool_call>",
        f'{{"tool_calls": [{CALL}, {{"name": "g", "arguments": {{}}}}]}}',
        f'Sure.\n{{"thought": "", "tool_calls": [{CALL}, {{"name": "g", "arguments": null}}]}}',
        f'[{CALL}, {{"function": {{"name": "g", "arguments": "{{}}"}}}}]',
        '[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\\"x\\": 1}"}},'
        ' {"name": "g", "arguments": null}]',
        f'I shall look it up.\n```json\n[{CALL}, {{"name": "g", "arguments": ""}}]\n```\nDone.',
        f"<think>Should I call <tool_call>{CALL}</tool_call>? Yes [1].</think>\n"
        f'{CALL}\n{{"name": "g", "arguments": {{}}}}',
        f"The prompt opened this thought: <tool_call> {{ </think>{CALL} and "
        '{"function": "g", "parameters": {}}',
        "<tool_call>{'name': 'f', 'arguments': {'x': 1}}</tool_call> "
        "<tool_call>{'arguments': None, 'name': 'g'}</tool_call>",
    ],
)  # fmt: skip
def test_the_forms_of_chat_templates(text: str):
    assert native.read_native(text) == [F, G]


@pytest.mark.parametrize(
    "mark",
    ["</tool_call>", "<tool_call>", "[TOOL_CALLS]", "</think>", "<think>", "```", "; ", "<|python_tag|>"],
)  # fmt: skip
@pytest.mark.parametrize(
    "form", ["{}", "<tool_call>{}</tool_call>", "Look: {} !", "```json\n{}\n```"]
)
def test_marks_inside_values_stay(form: str, mark: str):
    value = f"a {mark} b"
    written = json.dumps({"name": "f", "arguments": {"x": value}})
    found = native.read_native(form.replace("{}", written))
    assert found == [FunctionCall("f", {"x": value})]
    # The decoder that judges a native answer deletes code fences from the whole text.
    assert calls.parse_json(native.to_json(found).replace("```", "")) == found


def test_parameters_without_quotes_have_the_type_that_they_read_as():
    values = {"a": "1", "b": "2.5", "c": "True", "d": "null", "e": '["x"]', "f": "Paris, 2"}
    parameters = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    (call,) = native.read_native(f"<function=f>\n{parameters}</function>")
    expected = {"a": 1, "b": 2.5, "c": True, "d": None, "e": ["x"], "f": "Paris, 2"}
    assert call.arguments == expected
    (call,) = native.read_native(
        '<function=f><parameter=x>\n"quoted"\nlines\n</parameter></function>'
    )
    assert call.arguments == {"x": '"quoted"\nlines'}


@pytest.mark.parametrize(
    "text",
    ["[]", "```json\n[]\n```", '{"tool_calls": []}', '<function_call> {"name": "no_function", "arguments": {}}'],
)  # fmt: skip
def test_an_explicit_absence_of_calls(text: str):
    assert native.read_native(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "None of these functions helps.",
        "Use a[0] and {x: 1}, as in ```python\nd = {'name': 'Bob'}\n```",
        'It is {"name": "Bob", "age": 3}.',
        "<think>" + CALL,
        "<tool_call>",
        '<tool_call>{"name": "f", "arguments": {"x": ',
        f"<tool_call>{CALL}</tool_call><tool_call>f(x=1)</tool_call>",
        '{"name": "f", "arguments": "x=1"}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": {"x": NaN}}',
        '{"name": "f", "arguments": {"x": 1e999}}',
        '[TOOL_CALLS]f[ARGS]{"x": Infinity}',
        "<function=f><parameter=x>1</parameter>",
        "<function=f><parameter=x>1</parameter><parameter=x>2</parameter></function>",
        '{"name": "f", "arguments": ' + '{"x": ' * 5000 + "1" + "}" * 5001,
        '[{"name": "f", "arguments": ' + '"' + "[" * 100_000 + '"' + "}]",
        CALL + " " * native.MAX_LENGTH,
    ],
)  # fmt: skip
def test_what_holds_no_readable_call(text: str):
    with pytest.raises(CallError):
        native.read_native(text)


REPEATED = (
    "[]", "{}", "[", "{", "[[", '{"name": ', '[{"name": "f", ', "<think>", "</think>", "<tool_call>",
    "[TOOL_CALLS]", "[TOOL_CALLS]f", "<function=f>", "<function=f><parameter=x>", "```", '"', "'",
    '<tool_call>"', "<tool_call>'</think>", '<tool_call>{"a</think>', CALL, CALL + ";", "\\", " ", "\n",
    "[TOOL_CALLS]f[ARGS]{}", "<tool_call>[1,</think>",
)  # fmt: skip


@pytest.mark.parametrize("part", REPEATED)
def test_the_time_grows_with_the_length_and_not_its_square(part: str):
    """A guard against hanging, not a measurement: a quadratic reader takes minutes here."""
    text = "x " + part * (256_000 // len(part))
    start = time.process_time()
    with contextlib.suppress(CallError):
        native.read_native(text)
    assert time.process_time() - start < 10


def test_random_mixtures_raise_only_the_readers_error():
    random_ = random.Random(3)
    for _ in range(2000):
        text = "".join(random_.choices([*REPEATED, CALL, "a", "}", "]", ":", ",", "1"], k=12))
        with contextlib.suppress(CallError):
            native.read_native(text)
