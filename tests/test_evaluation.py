import random
from pathlib import Path

import pytest
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from coalm_oumi.calls import FunctionCall
from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation import api_bank
from coalm_oumi.evaluation.generation import HeldOut
from coalm_oumi.evaluation.matching import ast_match, same_value
from coalm_oumi.evaluation.states import (
    DialogueState,
    StateError,
    joint_goal_accuracy,
    parse_state,
    slot_f1,
)


def state(domain: str, **slots: str) -> DialogueState:
    return DialogueState(domain, {slot: (value,) for slot, value in slots.items()})


def test_states_are_compared_normalised():
    written = 'System: {"domain": "PlayMusic", "slot_values": {"artist": ["B ", "a"], "year": 1999, "sort": ""}}'
    expected = DialogueState("PlayMusic", {"artist": ("a", "b"), "year": ("1999",)})
    assert parse_state(written) == expected
    assert parse_state(written.removeprefix("System: ")) == expected


@pytest.mark.parametrize(
    "text",
    ["", "System:", "[]", '{"domain": "x"}', '{"domain": 1, "slot_values": {}}',
     '{"domain": "x", "slot_values": {"s": {"deep": 1}}}', '{"domain": "x", "slot_values": {"s": [[1]]}}',
     "I think you want a restaurant.", "[" * 100_000],
)  # fmt: skip
def test_what_is_no_state(text: str):
    with pytest.raises(StateError):
        parse_state(text)


def test_joint_goal_accuracy_needs_the_whole_state():
    truth = [state("a", x="1", y="2")] * 4
    guesses = [truth[0], state("a", x="1"), state("b", x="1", y="2"), None]
    assert joint_goal_accuracy(guesses, truth) == 0.25
    assert joint_goal_accuracy([], []) == 0


def test_slot_f1_is_scikit_learns_micro_average():
    random_ = random.Random(0)

    def draw() -> DialogueState:
        slots = random_.sample("uvwxyz", random_.randint(0, 4))
        return state(random_.choice("ab"), **{slot: random_.choice("12") for slot in slots})

    truth = [draw() for _ in range(200)]
    guesses = [draw() if random_.random() < 0.7 else t for t in truth]
    binarizer = MultiLabelBinarizer().fit([set(s.triples()) for s in truth + guesses])
    expected = precision_recall_fscore_support(
        binarizer.transform([set(s.triples()) for s in truth]),
        binarizer.transform([set(s.triples()) for s in guesses]),
        average="micro",
    )[:3]
    assert slot_f1(guesses, truth) == pytest.approx(expected)
    assert slot_f1([None], truth[:1]) == (0.0, 0.0, 0.0)


def test_same_value_keeps_types():
    assert same_value(1, 1.0)
    assert same_value([{"a": 2}], [{"a": 2.0}])
    for left, right in ((1, True), (0, False), (1, "1"), ([1], [1, 2]), ({"a": 1}, {"b": 1})):
        assert not same_value(left, right)


def test_ast_match():
    f, g = FunctionCall("f", {"x": 1}), FunctionCall("g")
    assert ast_match([g, f], [f, g])
    assert ast_match([], [])
    assert not ast_match([f], [f, g])
    assert not ast_match([f, f], [f])
    assert not ast_match([FunctionCall("f", {"x": 2})], [f])
    assert not ast_match([FunctionCall("f", {"x": 1, "y": 0})], [f])


def test_held_out_options(mixture: Path):
    held_out = HeldOut.from_options({"dataset_path": str(mixture), "sources": ["hammer"]})
    assert {sample.source for sample in held_out.samples("la")} == {"hammer"}
    for options in ({}, {"dataset_path": "x", "source": ["hammer"]}):
        with pytest.raises(CoalmError, match=r"eval_kwargs\.data: expected dataset_path"):
            HeldOut.from_options(options)


def test_real_api_bank(shared: Path):
    samples = api_bank.read(shared / "api_bank/hammer_original")
    assert len(samples) == 399 + 127
    assert "Generate API Request:\n[END OF QUERY]" in samples[0].input
    assert samples[0].output.startswith('[{"name": "ModifyRegistration", "arguments": {')


def test_bad_api_bank_records(tmp_path: Path):
    file = tmp_path / "apibank_l1.json"
    file.write_text('[{"query": [], "tools": []}]')
    with pytest.raises(CoalmError, match=r"apibank_l1\.json\[0\]: not a record"):
        api_bank.read(tmp_path)
