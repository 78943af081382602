"""The chat template of a merged CoALM writes what training read, token for token."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jinja2
import jinja2.nodes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalm_oumi.agent import forms
from coalm_oumi.agent.turns import AgentTurn, Step
from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra.dialogue import ApiStep, CraDialogue, CraTurn, samples
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactAnswer
from coalm_oumi.rendering.coalm_template import with_coalm

_NAMES = st.from_regex(r"[A-Za-z_]{1,8}", fullmatch=True)
_WORDS = st.text(alphabet="abc äé'\"\\{}%#1", min_size=1, max_size=12).map(str.strip).filter(bool)
_VALUES = st.one_of(_WORDS, st.integers(-9, 99), st.booleans(), st.none())
_FUNCTIONS = st.builds(
    lambda name, required, optional: Function(
        name, "Does it.", required=tuple(required),
        optional={k: v for k, v in optional.items() if k not in required},
    ),
    _NAMES, st.lists(_NAMES, max_size=2, unique=True),
    st.dictionaries(_NAMES, st.one_of(_WORDS, st.none()), max_size=2),
)  # fmt: skip
_CALLS = st.builds(FunctionCall, _NAMES, st.dictionaries(_NAMES, _VALUES, max_size=3))
_STEPS = st.builds(ApiStep, _CALLS, _WORDS, _WORDS)
_TURNS = st.lists(
    st.builds(CraTurn, _WORDS, _WORDS, st.one_of(st.none(), _STEPS), _WORDS), min_size=1, max_size=3
)


def openai_tool(function: Function) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {} for name in function.required}
    properties |= {name: {"default": value} for name, value in function.optional.items()}
    return {
        "type": "function",
        "function": {
            "name": function.name, "description": function.description,
            "parameters": {"type": "object", "properties": properties,
                           "required": list(function.required)},
        },
    }  # fmt: skip


def requests(dialogue: CraDialogue) -> list[tuple[list[dict[str, Any]], bool]]:
    """Writes each sample of a dialogue as messages; True where it lists the functions."""
    written: list[tuple[list[dict[str, Any]], bool]] = []
    messages: list[dict[str, Any]] = []
    for turn in dialogue.turns:
        messages = [*messages, {"role": "user", "content": turn.user}]
        thought = {"role": "assistant", "content": "", "reasoning_content": turn.thought}
        if turn.api is None:
            written.append(([*messages, thought], False))
            messages += [{**thought, "content": turn.system}]
            continue
        written.append(([*messages, thought], True))
        call = {"name": turn.api.call.name, "arguments": dict(turn.api.call.arguments)}
        calls = [{"id": "c1", "type": "function", "function": call}]
        messages += [
            {**thought, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": turn.api.observation},
        ]
        second = {"role": "assistant", "content": "", "reasoning_content": turn.api.thought}
        written.append(([*messages, second], False))
        messages += [{**second, "content": turn.system}]
    return written


def ids(tokenizer: Any, messages: Sequence[Any], tools: Any = None) -> list[int]:
    text = tokenizer.apply_chat_template(
        list(messages), tools=tools, tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def served(demo_model):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    tokenizer.chat_template = with_coalm(tokenizer.chat_template)
    return tokenizer


@settings(max_examples=60)
@given(functions=st.lists(_FUNCTIONS, min_size=1, max_size=3), turns=_TURNS)
def test_a_sample_as_messages_is_the_sample_s_prompt(served, tokenizer, functions, turns):
    # A sample is made only of a call that its prompt lists.
    listed = functions[0]
    call = FunctionCall(listed.name, dict.fromkeys(listed.required, "a value"))
    turns = [replace(turn, api=turn.api and replace(turn.api, call=call)) for turn in turns]
    dialogue = CraDialogue("d", functions, turns)
    tools = [openai_tool(function) for function in functions]
    found = [sample for sample in samples(dialogue) if isinstance(sample, Sample)]
    asked = requests(dialogue)
    assert len(found) == len(asked)
    for sample, (messages, lists_functions) in zip(found, asked, strict=True):
        trained = [{"role": "user", "content": user_message(sample.instruction, sample.input)}]
        assert ids(served, messages, tools if lists_functions else None) == ids(tokenizer, trained)


def test_a_turn_to_decide_is_what_the_agent_asks(served, tokenizer):
    functions = [Function("Find", "Find it.", required=("city",), optional={"stars": None})]
    call = FunctionCall("Find", {"city": "Ely"})
    steps = (Step("x", ReactAnswer("look", (call,)), "[1]"),)
    reply = Step("y", ReactAnswer("tell", reply="One."), "")
    turns = [AgentTurn("Find one", (*steps, reply), "One.")]
    asked = forms.coalm(functions).render(turns, "Thanks", ())
    calls = [{"id": "a", "type": "function",
              "function": {"name": "Find", "arguments": {"city": "Ely"}}}]  # fmt: skip
    messages = [
        {"role": "user", "content": "Find one"},
        {"role": "assistant", "reasoning_content": "look", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "[1]"},
        {"role": "assistant", "reasoning_content": "tell", "content": "One."},
        {"role": "user", "content": "Thanks"},
    ]
    trained = [{"role": "user", "content": asked.messages[0].content}]
    assert ids(served, messages, [openai_tool(functions[0])]) == ids(tokenizer, trained)


def test_without_tools_the_base_template_is_unchanged(served, tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"},
    ]  # fmt: skip
    assert ids(served, messages) == ids(tokenizer, messages)


def test_parallel_calls_keep_their_results(served):
    def call(number: int) -> dict[str, Any]:
        return {"id": f"c{number}", "function": {"name": "f", "arguments": {"n": number}}}

    messages = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [call(1), call(2)]},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "tool", "tool_call_id": "c1", "content": json.dumps("one")},
    ]
    text = served.apply_chat_template(messages, tools=[openai_tool(Function("f", "F."))], tokenize=False)  # fmt: skip
    assert 'Action: f(n=1)\nObservation: "one"\nAction: f(n=2)\nObservation: two' in text


def test_content_in_parts_is_read(served):
    tools = [openai_tool(Function("f", "F."))]
    whole = [{"role": "user", "content": "Go on"}]
    parts = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Go"}, {"type": "text", "text": " on"}],
        }
    ]
    assert ids(served, parts, tools) == ids(served, whole, tools)


def test_vllm_sends_the_base_template_text(served):
    """From a loop over the content vLLM concludes that a template wants a list of parts."""
    loops = jinja2.Environment().parse(served.chat_template).find_all(jinja2.nodes.For)
    assert not [loop for loop in loops if getattr(loop.iter, "attr", "") == "content"]


def test_a_template_is_extended_once(served):
    assert with_coalm(served.chat_template) == served.chat_template
