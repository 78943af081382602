import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalm_oumi.core.function import Function
from coalm_oumi.formats import react
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactError
from tests.support.damage import SNIPPETS

FUNCTIONS = (
    Function("query_hotel", "Finds.", optional={"area": None, "stars": None, "name": None}),
    Function("book_hotel", "Books.", required=("name", "people", "day", "stay")),
)
TITLES = {"hotel query": "query_hotel", "hotel reservation": "book_hotel"}
NORTH = FunctionCall("query_hotel", {"area": "north"})
GUESTS = FunctionCall("query_hotel", {"area": "north", "stars": 4})


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("Thought: I look.\nAction: query_hotel(area='north')", NORTH),
        ("Action: query_hotel(area=north)", NORTH),
        ("Action: query_hotel(area=north, stars=4)", GUESTS),
        ("Action: query_hotel(area: 'north', stars: 4)", GUESTS),
        ("Action: query_hotel(area='north').", NORTH),
        ("Action: `query_hotel(area='north')`", NORTH),
        ("**Action:** query_hotel(area='north')", NORTH),
        ("```\nThought: I look.\nAction: query_hotel(area='north')\n```", NORTH),
        ("Action: ```python\nquery_hotel(area='north')\n```", NORTH),
        ("Action: query_hotel(\n    area='north',\n    stars=4,\n)", GUESTS),
        ("Action: query_hotel(\n  area=north,\n  stars=4\n)\nI wait for the result.", GUESTS),
        ("Action: query_hotel('north', 4)", GUESTS),
        ("Action: query_hotel(north)", NORTH),
        ("Action: query_hotel('north', stars=4)", GUESTS),
        ("Action: query_hotel({'area': 'north', 'stars': 4})", GUESTS),
        ("Action: [query_hotel(area='north')]", NORTH),
        ('Action: {"name": "query_hotel", "arguments": {"area": "north"}}', NORTH),
        ('Action: [{"name": "query_hotel", "arguments": {"area": "north"}}]', NORTH),
        ('Action: {"function": {"name": "query_hotel", "arguments": "{\\"area\\": \\"north\\"}"}}', NORTH),
        ('```json\n[{"name": "query_hotel", "arguments": {"area": "north"}}]\n```', NORTH),
        ('<tool_call>\n{"name": "query_hotel", "parameters": {"area": "north"}}\n</tool_call>', NORTH),
        ("Thought: I look.\nquery_hotel(area='north')", NORTH),
        ("query_hotel(area='north')", NORTH),
        ("<think>\nAction: query_hotel(area=east)?\n</think>Action: query_hotel(area=north)", NORTH),
        ("Action: query_hotel\nAction Input: area: north, stars: 4",
         FunctionCall("query_hotel", {"area": "north", "stars": "4"})),
        ("Action: query_hotel(name=rosa's bed and breakfast, area=north)",
         FunctionCall("query_hotel", {"name": "rosa's bed and breakfast", "area": "north"})),
        ("Action: query_hotel(name='rosa's bed', area='north')",
         FunctionCall("query_hotel", {"name": "rosa's bed", "area": "north"})),
        ("Action: query_hotel(name=alpha, beta and milton)",
         FunctionCall("query_hotel", {"name": "alpha, beta and milton"})),
        ("Action: query_hotel(name='a (b')", FunctionCall("query_hotel", {"name": "a (b"})),
        ("Action: query_hotel()", FunctionCall("query_hotel")),
        ("Action: query_hotel(area='north')\nObservation: []\nSystem: none", NORTH),
    ],
)  # fmt: skip
def test_coalm_s_form_is_read_as_models_write_it(text: str, call: FunctionCall):
    answer = react.read_coalm(text, FUNCTIONS)
    assert (answer.calls, answer.reply) == ((call,), None)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Thought: I greet.\nSystem: Hello!\nUser: Hi", "Hello!"),
        ("Thought: no need\nAction: None\nSystem: Hello!", "Hello!"),
        ("Action: none.\nSystem: Hello!", "Hello!"),
        ("Action: No action needed\nAI Assistant: Hello!", "Hello!"),
        ("Hello! Which area do you like?", "Hello! Which area do you like?"),
        ("I found (in the north) one.", "I found (in the north) one."),
        ("System: line one\n\nline two", "line one\n\nline two"),
    ],
)
def test_replies_are_read_with_and_without_labels(text: str, reply: str):
    answer = react.read_coalm(text, FUNCTIONS)
    assert (answer.calls, answer.reply) == ((), reply)


def test_a_list_of_calls_holds_several():
    text = '[{"name": "query_hotel", "arguments": {"area": "north"}}, {"name": "now", "arguments": {}}]'
    assert react.read_coalm(text, FUNCTIONS).calls == (NORTH, FunctionCall("now"))
    assert react.read_coalm(f"Action: {text}", FUNCTIONS).calls[0] == NORTH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Thought: I should look for hotels.", "no action and no reply"),
        ("Thought: done\nAction: None", "no reply"),
        ("Action: query_hotel(area='north'), book_hotel(name='x')", "more than one call"),
        ("Action: query_hotel(area='north'", "no closing parenthesis"),
        ("Action: query_hotel('north', 4, 'a', 'b')", "no argument name"),
        ("Action: query_hotel(area=north, area=south)", "given twice"),
        ("Action: query_hotel(area=[north, south])", "not one value"),
        ("Action: look for hotels", "cannot be read"),
        ('{"name": "query_hotel", "arguments": {"area": ', "cannot be read"),
        ('{"name": "query_hotel", "arguments": {"stars": 1e999}}', "cannot be read"),
        ('{"domain": "hotel", "slot_values": {}}', "cannot be read"),
        ("[" * 20_000 + "{", "cannot be read"),
        ("x" * 60_000, "longer than"),
    ],
)  # fmt: skip
def test_what_has_no_one_meaning_is_refused_with_a_hint(text: str, reason: str):
    with pytest.raises(ReactError, match=reason) as raised:
        react.read_coalm(text, FUNCTIONS)
    assert "write either a line `Action:" in str(raised.value)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("area: north, stars: 4", {"area": "north", "stars": "4"}),
        ("area=north and stars=4", {"area": "north", "stars": "4"}),
        ("area=north, stars=4.", {"area": "north", "stars": "4"}),
        ("area: north\nstars: 4", {"area": "north", "stars": "4"}),
        ("- area: north\n- stars: 4", {"area": "north", "stars": "4"}),
        ('{"area": "north", "stars": 4}', {"area": "north", "stars": 4}),
        ('"area: [north], stars: [4]"', {"area": "north", "stars": "4"}),
        ("name: bridge and punter, day: monday", {"name": "bridge and punter", "day": "monday"}),
        ("name: a, b and c", {"name": "a, b and c"}),
        ("leave: 10:15 and arrive: 12:00", {"leave": "10:15", "arrive": "12:00"}),
        ("name: rosa's bed", {"name": "rosa's bed"}),
        ("None", {}),
        ("", {}),
    ],
)
def test_autotod_s_action_input(written: str, arguments: dict):
    text = f"Thought: Do I need to use a tool? Yes\nAction: Hotel Query\nAction Input: {written}"
    (call,) = react.read_autotod(text, FUNCTIONS, TITLES).calls
    assert call == FunctionCall("query_hotel", arguments)


@pytest.mark.parametrize(
    "text",
    [
        "Thought: Do I need to use a tool? No\nAI Assistant: Hello!",
        "Thought: Do I need to use a tool? No\nAction: None\nAI Assistant: Hello!",
        "Thought: Do I need to use a tool? No\nHello!",
        "AI Assistant: Hello!\nHuman: Hi",
        "Hello!",
    ],
)
def test_autotod_s_replies(text: str):
    answer = react.read_autotod(text, FUNCTIONS, TITLES)
    assert (answer.calls, answer.reply) == ((), "Hello!")


def test_autotod_s_tools_by_title_name_and_call():
    for action in ("Hotel Query", "[Hotel Query]", "hotel query", "query_hotel", "`Hotel Query`"):
        text = f"Action: {action}\nAction Input: area: north"
        assert react.read_autotod(text, FUNCTIONS, TITLES).calls == (NORTH,)
    for action in ("Hotel Query(area='north')", "query_hotel(area=north)",
                   '{"name": "Hotel Query", "arguments": {"area": "north"}}'):  # fmt: skip
        assert react.read_autotod(f"Action: {action}", FUNCTIONS, TITLES).calls == (NORTH,)
    with pytest.raises(ReactError, match="no reply"):
        react.read_autotod("Action: None\nAction Input: None", FUNCTIONS, TITLES)
    with pytest.raises(ReactError, match="slot: value"):
        react.read_autotod("Action: Hotel Query\nAction Input: north", FUNCTIONS, TITLES)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*SNIPPETS, "Action: ", "Action Input: ", "\n", "f(a=", "System: "])
                | st.text(max_size=4), max_size=12).map("".join))  # fmt: skip
def test_any_text_is_an_answer_or_a_react_error(text: str):
    for read in (
        lambda: react.read_coalm(text, FUNCTIONS),
        lambda: react.read_autotod(text, FUNCTIONS, TITLES),
    ):
        try:
            answer = read()
        except ReactError:
            continue
        assert bool(answer.calls) != (answer.reply is not None)


@pytest.mark.parametrize(
    "piece", ["f(", "a, ", "a=", " ", "\n", " and ", "Action:", "[", "```", "'", ")", ":"]
)
def test_time_grows_with_the_length_only(piece: str):
    text = piece * (react.MAX_CHARACTERS // len(piece) - 20)
    started = time.process_time()  # a guard against hanging, not a measurement
    for start in ("", "Action: f(", "Action: f\nAction Input: a: ", "Thought: "):
        for read in (react.read_coalm, lambda t, f: react.read_autotod(t, f, TITLES)):
            try:
                read(start + text, FUNCTIONS)
            except ReactError:
                continue
    assert time.process_time() - started < 30
