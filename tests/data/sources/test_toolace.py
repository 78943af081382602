"""Variants of ToolACE's records: clocks, odd names, other notations, broken turns."""

import json
from pathlib import Path

import pytest

from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources import LeftOut, Record, RecordError, toolace
from coalm_oumi.formats import calls

FORMAT = (
    "You are an expert in composing functions. You are given a question and a set of possible "
    "functions.\nBased on the question, make one or more function/tool calls.\n"
    "If none of the function can be used, point it out. If the given question lacks the "
    "parameters required by the function,\nalso point it out.\n"
)
ENDING = (
    ".\nShould you decide to return the function call(s), put it in the format of "
    "[func1(params_name=params_value), func2(params)]\nNO other text MUST be included.\n"
)


def tool(name: str, **types: str) -> dict[str, object]:
    properties = {key: {"type": kind, "description": f"The {key}."} for key, kind in types.items()}
    return {
        "name": name,
        "description": f"Does {name}.",
        "parameters": {"type": "dict", "properties": properties, "required": []},
        "required": None,
    }


def record(*turns: str, tools: object = None, before: str = "", after: str = "") -> Record:
    """A conversation of user and assistant in turn."""
    tools = [tool("Get Fares", city="string", seats="int")] if tools is None else tools
    speakers = ("user", "assistant")
    return Record(
        "here",
        "data.json/7",
        {
            "system": f"{FORMAT}{before}Here is a list of functions in JSON format that you can "
            f"invoke:\n{json.dumps(tools)}{ENDING}{after}",
            "conversations": [
                {"from": speakers[number % 2], "value": text} for number, text in enumerate(turns)
            ],
        },
        0,
    )


READER = toolace.ToolAce(Path(toolace.__file__))  # `samples` reads nothing of the file


def render(*turns: str, **options) -> list[Sample | LeftOut]:
    return list(READER.samples(record(*turns, **options)))


def only(*turns: str, **options) -> Sample:
    (sample,) = render(*turns, **options)
    assert isinstance(sample, Sample)
    return sample


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("after", "The current time is 2023-11-20 10:00:00."),
        ("before", "Today is 2024-06-13, Thursday.\n"),
        ("after", "The user lives in Bergen.\nUser's currency: NOK"),
        ("after", "Call the tools as of 2024-03-01."),
    ],
)
def test_facts_of_the_system_text_stay(where: str, text: str):
    sample = only("Fares for the 3rd of next month?", "[Get Fares()]", **{where: text})
    context = sample.instruction.split("[BEGIN OF CONTEXT]\n")[1].split("\n[END OF CONTEXT]")[0]
    assert context.splitlines() == text.splitlines()


def test_what_the_system_text_says_of_the_format_goes():
    instruction = only("Hello", "[Get Fares()]").instruction
    assert "CONTEXT" not in instruction
    assert "func1" not in instruction and "expert in composing" not in instruction


@pytest.mark.parametrize(
    "name",
    ["Clip Feed (Short Posts) V2", "Rates, Fares & Fees", 'The "Best" Buys', "list[int] sum",
     "Weather = now", "Don't Panic", "net/get.fares-v1"],
)  # fmt: skip
def test_names_with_marks_are_read_by_the_longest_that_is_declared(name: str):
    tools = [tool("Clip Feed", limit="int"), tool(name, limit="int", **{"by[city]": "string"})]
    text = f'[{name}(limit=3, by[city]="Oslo"), Clip Feed(limit=1)]'
    assert calls.parse_json(only("Hi", text, tools=tools).output) == [
        calls.FunctionCall(name, {"limit": 3, "by[city]": "Oslo"}),
        calls.FunctionCall("Clip Feed", {"limit": 1}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[Get Fares(city="Oslo", seats=2)]',
        'Get Fares(city="Oslo", seats=2)',
        '(Get Fares|{"city": "Oslo", "seats": 2})',
        '[(Get Fares|{"city": "Oslo", "seats": 2})]',
        "<Get Fares|<city|Oslo><seats|2>>",
        '[{"name": "Get Fares", "arguments": {"city": "Oslo", "seats": 2}}]',
        '{"name": "Get Fares", "arguments": "{\\"city\\": \\"Oslo\\", \\"seats\\": 2}"}',
        '{"type": "function", "function": {"name": "Get Fares", "arguments": {"city": "Oslo", "seats": 2}}}',
        '```json\n[{"name": "Get Fares", "arguments": {"city": "Oslo", "seats": 2}}]\n```',
    ],
)
def test_every_notation_becomes_json(text: str):
    assert only("Hi", text).output == (
        '[{"name": "Get Fares", "arguments": {"city": "Oslo", "seats": 2}}]'
    )


@pytest.mark.parametrize(
    "text",
    ['[Get Fares(city="Oslo"]', '<tool_call>{"name": "Get Fares"', '(Get Fares|{"city": )',
     "<Get Fares: city>", '{"name": "Get Fares", "arguments": [1]}', '[Nosuch(city="Oslo"'],
)  # fmt: skip
def test_a_call_that_cannot_be_read_is_no_plain_text(text: str):
    with pytest.raises(RecordError, match=r"^turn 1: "):
        render("Hi", text)
    first, *rest = render("Hi", "Hello!", "Fares?", text, "Thanks", "Bye.")
    assert isinstance(first, Sample) and first.output == "Hello!"
    assert rest == [LeftOut("a call cannot be read")] * 2


@pytest.mark.parametrize(
    "text",
    ["Which city?", "[Note] I need a city.", "Get Fares needs a city.", "(I need a city.)",
     "[The site](https://example.org) lists them.", "Fares are <b>20</b>.", "{x} is no city"],
)  # fmt: skip
def test_plain_text_stays_plain_text(text: str):
    assert only("Hi", text).output == text


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('[Get Trains(city="Oslo")]', "`Get Trains` is not among the tools"),
        ('[Get Fares(town="Oslo")]', "`Get Fares` has no parameter `town`"),
        ('(Get Fares|{"town": "Oslo"})', "`Get Fares` has no parameter `town`"),
    ],
)
def test_undeclared_functions_and_arguments_are_no_targets(call: str, reason: str):
    with pytest.raises(RecordError, match=f"^turn 1: {reason}"):
        render("Hi", call)
    left_out, sample = render("Hi", call, "And?", "There are none.")
    assert left_out == LeftOut("a call of a function or an argument that is not declared")
    assert isinstance(sample, Sample) and sample.output == "There are none."


def test_a_call_beside_text_is_no_target():
    left_out, sample = render("Hi", 'Let me look. [Get Fares(city="Oslo")]', "And?", "20 euros.")
    assert left_out == LeftOut("a call stands beside other text")
    assert isinstance(sample, Sample)


@pytest.mark.parametrize("place", [2, 3])
def test_an_empty_turn_keeps_the_samples_before_it(place: int):
    turns = ["Hi", "Hello!", "Fares?", "[Get Fares()]", "Thanks", "Bye."]
    turns[place] = " "
    first, *rest = render(*turns)
    assert isinstance(first, Sample) and first.output == "Hello!"
    assert rest == [LeftOut("a turn has no known speaker or no text")] * 2


def test_a_greeting_before_the_user_speaks_is_history():
    turns = [
        {"from": "assistant", "value": "Welcome!"},
        {"from": "human", "value": "Hi"},
        {"role": "gpt", "content": "Hello!"},
    ]
    content = record().content | {"conversations": turns}
    left_out, sample = READER.samples(Record("here", "data.json/0", content, 0))
    assert left_out == LeftOut("the assistant speaks first")
    assert isinstance(sample, Sample)
    assert "System: Welcome!" in sample.instruction and sample.input == "User: Hi"
