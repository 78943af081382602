import hashlib
import json
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import COLUMNS, Sample
from coalm_oumi.data.cra.dialogue import ApiStep, CraDialogue, CraTurn
from coalm_oumi.data.cra.dialogue import samples as cra_samples
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts
from coalm_oumi.training.rewards import answers as answer_reader
from coalm_oumi.training.rewards import functions, scores
from coalm_oumi.training.rewards.context import context

SCORES = (scores.form, scores.call_validity, scores.match, scores.argument_support)
TOOLS = [
    {"name": "weather", "parameters": {
        "city": {"type": "str"}, "days": {"type": "int", "default": 1}, "unit": {"type": "str, optional"}}},
    {"name": "Stock Price", "parameters": {
        "type": "dict", "properties": {"symbol": {"type": "string"}, "day": {"type": "string"}},
        "required": ["symbol"]}},
]  # fmt: skip


def sample(domain: str, output: str, query: str = "Weather in Utrecht for the next three days?"):
    instruction = prompts.render("hammer", tools=TOOLS)
    return Sample(instruction, query, output, "own", domain, "own/1")  # pyright: ignore[reportArgumentType]


CALL = sample("la", '[{"name": "weather", "arguments": {"city": "Utrecht", "days": 3}}]')
NO_CALL = sample("la", "[]", "Tell me a joke.")
TEXT = sample("la", "It will rain.")
STATE = sample(
    "tod",
    'System: {"domain": "GetWeather", "slot_values": {"city": "Utrecht", "timeRange": "three days"}}',
)
ACTION, REPLY = cra_samples(
    CraDialogue(
        "own/2",
        [
            Function("FindBus", "", ("origin", "date"), {"class": "it's, (any)", "seats": 1}),
            Function("Stop", ""),
        ],
        [
            CraTurn(
                "A bus from Fresno on the 8th.",
                "I need Boston.",
                ApiStep(
                    FunctionCall("FindBus", {"origin": "Fresno", "date": "2019-03-08"}),
                    "[]",
                    "None.",
                ),
                "There is none.",
            )
        ],
    )
)


def judged(text: str, of: Sample) -> tuple[float, ...]:
    """Form, call validity, match, argument support."""
    return tuple(score(text, of) for score in SCORES)


def call(name: str, **arguments: object) -> str:
    return calls.to_json([FunctionCall(name, arguments)])


@pytest.mark.parametrize(
    ("of", "text", "expected"),
    [
        # A list of calls.
        (CALL, CALL.output, (1, 1, 1, 1)),
        (CALL, f"```json\n{CALL.output}\n```", (1, 1, 1, 1)),
        (CALL, call("weather", city="Utrecht"), (1, 1, 0, 1)),
        (CALL, call("weather", city="Utrecht", days=1), (1, 1, 0, 1)),  # the listed default
        (CALL, call("weather", city="Boston", days=3), (1, 1, 0, 0.5)),  # made up
        (CALL, call("weather", days=3), (1, 0, 0, 1)),  # a required argument is missing
        (CALL, call("weather", city="Utrecht", hours=3), (1, 0, 0, 1)),  # no such argument
        (CALL, call("climate", city="Utrecht"), (1, 0, 0, 1)),  # no such function
        (CALL, call("Stock Price", symbol="X"), (1, 1, 0, 0)),
        (CALL, call("Stock Price", day="three"), (1, 0, 0, 1)),
        (CALL, calls.to_json([*calls.parse_json(CALL.output), FunctionCall("climate")]), (1, 0.5, 0, 1)),
        (CALL, "[]", (1, 0, 0, 0)),  # saying nothing is no way out
        (CALL, "I cannot help with that.", (0, 0, 0, 0)),
        (CALL, CALL.output[:-1], (0, 0, 0, 0)),
        # No call is due.
        (NO_CALL, "[]", (1, 1, 1, 1)),
        (NO_CALL, call("weather", city="Utrecht"), (1, 1, 0, 0)),
        (TEXT, "Bring an umbrella.", (1, 1, 1, 1)),
        (TEXT, CALL.output, (0, 0, 0, 0)),
        (TEXT, CALL.output[:-1], (0, 0, 0, 0)),
        (TEXT, "  ", (0, 0, 0, 0)),
        # A state.
        (STATE, STATE.output, (1, 1, 1, 1)),
        (STATE, '{"domain": "GetWeather", "slot_values": {"timeRange": "Three  days", "city": "utrecht"}}', (1, 1, 1, 1)),
        (STATE, 'System: {"domain": "GetWeather", "slot_values": {"city": "utrecht"}}', (1, 1, 2 / 3, 1)),
        (STATE, 'System: {"domain": "GetWeather", "slot_values": {"city": "Boston"}}', (1, 1, 0, 0)),
        (STATE, 'System: {"domain": "GetWeather", "slot_values": {}}', (1, 1, 0, 0)),
        (STATE, "System: It will rain.", (0, 0, 0, 0)),
        # The steps of a CRA dialogue.
        (ACTION, ACTION.output, (1, 1, 1, 1)),
        (ACTION, 'Action: FindBus(date="2019-03-08", origin="Fresno")', (1, 1, 1, 1)),
        (ACTION, "Action: FindBus(origin='Boston', date='2019-03-08')", (1, 1, 0, 0.5)),  # a thought is no evidence
        (ACTION, "Action: FindBus(origin='Fresno', date='the 8th', seats=1)", (1, 1, 0, 1)),
        (ACTION, "Action: FindBus(origin='Fresno', seats=1)", (1, 0, 0, 1)),
        (ACTION, "Action: Stop()", (1, 1, 0, 0)),
        (ACTION, ACTION.output.removeprefix("Action: "), (0, 0, 0, 0)),
        (ACTION, f"{ACTION.output}\nObservation: []", (0, 0, 0, 0)),  # it plays the tool as well
        (ACTION, "System: Which day?", (0, 0, 0, 0)),
        (REPLY, "System: I am sorry, no bus.", (1, 1, 1, 1)),
        (REPLY, "System:", (0, 0, 0, 0)),
        (REPLY, "I am sorry, no bus.", (0, 0, 0, 0)),
        (REPLY, ACTION.output, (0, 0, 0, 0)),
        (REPLY, "System: No.\nUser: Thanks!", (0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_scores(of: Sample, text: str, expected: tuple[float, ...]):
    assert judged(text, of) == pytest.approx(expected)


def test_functions_are_read_from_the_prompt():
    assert context(CALL).functions == {
        "weather": [Function("weather", "", ("city",), {"days": 1, "unit": None})],
        "Stock Price": [Function("Stock Price", "", ("symbol",), {"day": None})],
    }
    assert context(ACTION).functions == {
        "FindBus": [
            Function("FindBus", "", ("origin", "date"), {"class": "it's, (any)", "seats": 1})
        ],
        "Stop": [Function("Stop", "")],
    }
    assert context(REPLY).functions is None


def test_what_the_agent_thought_or_called_is_no_evidence():
    history = [
        "User: A bus, please.",
        "Thought: Perhaps to Boston.",
        "Action: FindBus(origin='Denver')",
        'Observation: [{"city": "Fresno"}]',
        'System: [{"name": "FindBus", "arguments": {"origin": "Tulsa"}}]',
        "System: From Oakland?",
    ]
    later = Sample(prompts.render("cra_response", history=history), "User: Yes.", "System: a", "own", "cra", "own/3")  # fmt: skip
    said = context(later).evidence
    assert [city for city in ("Boston", "Denver", "Fresno", "Tulsa", "Oakland") if said.supports(city)] == ["Fresno", "Oakland"]  # fmt: skip


def test_every_target_of_a_mixture_gets_all_rewards(mixture: Path):
    files = [str(file) for file in mixture.glob("*.parquet")]
    rows = datasets.load_dataset("parquet", data_files=files, split="train").to_list()
    assert {row["domain"] for row in rows} == {"tod", "la", "cra"}
    for row in rows:
        one = Sample(**row)
        assert judged(one.output, one) == (1, 1, 1, 1), one


def test_real_targets_are_supported_by_their_prompts(shared: Path):
    """The check of made-up values has few false alarms: people's values are found in the text."""
    from coalm_oumi.data.sources import Rejected, open_source, read

    reader = open_source("sgd", shared / "sgd/dev", {"functions": "dialogue"})
    found: list[bool] = []
    for one in read(reader):
        if isinstance(one, Rejected) or not one.output.startswith("Action:"):
            continue
        action = calls.parse_python(one.output.removeprefix("Action: "))
        found += [context(one).evidence.supports(value) for value in action.arguments.values()]
        if len(found) > 1000:
            break
    assert sum(found) / len(found) > 0.95


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
answers = st.one_of(
    st.text(),
    nested.map(lambda value: json.dumps(value)),
    st.dictionaries(st.text(), nested).map(lambda arguments: call("weather", **{"city": arguments})),
    st.dictionaries(st.sampled_from(["city", "date"]), nested).map(
        lambda slots: json.dumps({"domain": "GetWeather", "slot_values": slots})
    ),
    st.sampled_from([CALL, TEXT, STATE, ACTION, REPLY]).flatmap(
        lambda one: st.tuples(st.integers(0, len(one.output)), st.text(max_size=3)).map(
            lambda edit: one.output[: edit[0]] + edit[1] + one.output[edit[0] :]
        )
    ),
    st.integers(1, 2000).map(lambda n: '[{"name": "weather", "arguments": {"city": ' + "[" * n + "]" * n + "}}]"),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(answers, st.sampled_from([CALL, NO_CALL, TEXT, STATE, ACTION, REPLY]))
def test_no_answer_breaks_a_reward(text: str, of: Sample):
    given_ = judged(text, of)
    assert all(0 <= value <= 1 for value in given_)
    if given_[0] == 0:
        assert given_ == (0, 0, 0, 0)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_no_prompt_breaks_a_reward(tools: str, said: str):
    instruction = f"[BEGIN OF AVAILABLE TOOLS]\n{tools}\n[END OF AVAILABLE TOOLS]"
    of = Sample(instruction, said, CALL.output, "own", "la", "own/4")
    assert judged(CALL.output, of) == (1, 1, 1, 1)
    assert all(0 <= value <= 1 for value in judged(call("climate", city="Boston"), of))


def test_registered_functions_judge_batches_as_trl_hands_them_over():
    batch = [CALL, STATE]
    columns = {name: [getattr(one, name) for one in batch] for name in COLUMNS}
    messages = [[{"role": "assistant", "content": text}] for text in (CALL.output, "no")]
    rewards = (
        functions.format_reward,
        functions.call_validity_reward,
        functions.ast_match_reward,
        functions.argument_support_reward,
    )
    for reward in rewards:
        assert reward(messages, prompts=[], trainer_state=None, **columns) == [1.0, 0.0]
        assert reward([CALL.output, STATE.output], **columns) == [1.0, 1.0]
    with pytest.raises(CoalmError, match=r"mixture_grpo.*instruction, input"):
        functions.format_reward(messages, output=["[]"] * 2)


def test_the_version_of_the_answers_is_raised_with_them():
    """Cached prompts are named by this version: targets read otherwise need another one."""
    texts = (
        CALL.output,
        f"```json\n{CALL.output}\n```",
        "[]",
        '[{"name": "weather", "arguments": {"days": NaN}}]',
        TEXT.output,
        STATE.output,
        'System: {"domain": "GetWeather"}',
        ACTION.output,
        REPLY.output,
        "Thought: x\nAction: FindBus(origin='a', date=[1, {'b': None}])",
        "Thought: x\nAction: FindBus(origin=a)",
        "Action:",
    )
    results: list[str] = []
    for of in (CALL, NO_CALL, TEXT, STATE, ACTION, REPLY):
        for text in texts:
            try:
                results.append(repr(answer_reader.read(text, of)))
            except CoalmError:
                results.append("refused")
    digest = hashlib.sha256("\n".join(results).encode()).hexdigest()[:12]
    assert len(set(results)) >= 5
    assert (answer_reader.VERSION, digest) == (2, "9cf0747a3ea7"), (
        "answers are read otherwise: raise answers.VERSION and record both here"
    )
