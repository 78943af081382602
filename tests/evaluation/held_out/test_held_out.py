import json
import random
import re
from pathlib import Path

import pytest
from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.types.conversation import Message, Role
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.held_out import task as tasks
from coalm_oumi.evaluation.held_out.loss import target_loss
from coalm_oumi.evaluation.held_out.metrics import joint_goal_accuracy, slot_parts
from coalm_oumi.evaluation.held_out_samples import HeldOut
from coalm_oumi.evaluation.matching import ast_match, same_value
from coalm_oumi.evaluation.results import shares
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.states import DialogueState, StateError, parse_state


def state(domain: str, **slots: str) -> DialogueState:
    return DialogueState(domain, {slot: (value,) for slot, value in slots.items()})


def test_states_are_compared_normalised():
    written = 'System: {"domain": "PlayMusic", "slot_values": {"artist": ["B ", "a"], "year": 1999, "sort": "", "album": null}}'
    expected = DialogueState("PlayMusic", {"artist": ("a", "b"), "year": ("1999",)})
    assert parse_state(written) == expected
    assert parse_state(written.removeprefix("System: ")) == expected
    assert parse_state(f"```json\n{written.removeprefix('System: ')}\n```") == expected


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
    found = shares(map(slot_parts, guesses, truth))
    assert list(found.values()) == pytest.approx(expected)
    assert set(shares([slot_parts(None, truth[0])]).values()) == {0.0}


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
    assert {sample.source for sample in held_out.samples(["la"])} == {"hammer"}
    problems = {
        "expected a mapping": "a/path",
        "expected the key `dataset_path`": {},
        "unknown key `source`; the keys are other_base, dataset_path, domains": {
            "dataset_path": "x", "source": ["hammer"],
        },
        "sources: expected a list, not one text, found 'hammer'": {
            "dataset_path": "x", "sources": "hammer",
        },
        "validation_fraction: expected a number, found '0.5'; remove the quotes": {
            "dataset_path": "x", "validation_fraction": "0.5",
        },
    }  # fmt: skip
    for message, options in problems.items():
        with pytest.raises(CoalmError, match=f"^eval_kwargs.data: {re.escape(message)}"):
            HeldOut.from_options(options)


class Scripted:
    """Answers each conversation from a script, by the sample's place in the task."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def infer_partial(self, conversations, config=None):
        answered = []
        for place, conversation in enumerate(conversations):
            index = int(conversation.conversation_id.split("/")[0])
            answer = Message(role=Role.ASSISTANT, content=self.answer(index, conversation))
            messages = [*conversation.messages, answer]
            answered.append((place, conversation.model_copy(update={"messages": messages})))
        return InferenceResult(successful=answered, failures={})


def evaluate(task, script, folder: Path, data: dict[str, object], count: int = 10):
    config = EvaluationConfig(output_dir=str(folder))
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=count)
    result = task(params, config, Scripted(script), data=data)
    ((label, values),) = result.task_result["results"].items()
    rows = [json.loads(line) for line in (folder / values["answers"]).read_text().splitlines()]
    return label, values, rows


@pytest.mark.parametrize(
    ("task", "domain", "sources", "metric"),
    [
        (tasks.state_tracking, "tod", None, "joint_goal_accuracy"),
        (tasks.function_calling, "la", ["hammer"], "ast_match"),
    ],
)
def test_tasks_score_what_was_answered(
    mixture: Path, tmp_path: Path, task, domain, sources, metric
):
    data = {"dataset_path": str(mixture), "sources": sources}
    gold = [sample.output for sample in HeldOut.from_options(data).samples([domain])]
    _, values, rows = evaluate(task, lambda i, _: gold[i], tmp_path, data)
    assert (values[metric], values["readable"], values["num_samples"]) == (1.0, 1.0, 10)
    assert [row["target"] for row in rows] == gold[:10]
    assert all(row["correct"] for row in rows)

    wrong = {0: "I cannot help with that.", 3: gold[4]}
    assert gold[3] != gold[4]
    other = tmp_path / "other"  # in the same folder, the recorded answers would be taken
    label, values, rows = evaluate(task, lambda i, _: wrong.get(i, gold[i]), other, data)
    assert values[metric] == 0.8
    assert values["readable"] == 0.9
    assert [row["correct"] for row in rows] == [i not in wrong for i in range(10)]
    assert "not" in rows[0]["unreadable"] and rows[3]["unreadable"] is None
    assert label.endswith("/hammer" if sources else "/state_tracking")


def test_tasks_on_other_samples_keep_their_own_answers(mixture: Path, tmp_path: Path):
    files = set()
    for source in ("hammer", "toolace"):
        data = {"dataset_path": str(mixture), "sources": [source]}
        label, values, _ = evaluate(tasks.function_calling, lambda i, c: "[]", tmp_path, data, 2)
        files.add((label, values["answers"]))
    assert len(files) == 2


def test_targets_are_checked_before_the_model_is_asked(tmp_path: Path):
    row = {"instruction": "i", "input": "q", "output": "free text", "source": "own",
           "domain": "tod", "dialogue_id": "own/7"}  # fmt: skip
    (tmp_path / "validation.jsonl").write_text(json.dumps(row))

    def never(index, conversation):
        raise AssertionError("the model was asked")

    with pytest.raises(CoalmError, match=r"own/7: its target is not a dialogue state: not JSON"):
        evaluate(tasks.state_tracking, never, tmp_path, {"dataset_path": str(tmp_path)})


def own_data(folder: Path) -> dict[str, object]:
    """Records with three columns, and the options that hold some of them out."""
    rows = [{"instruction": "Double it.", "input": str(n), "output": f"It is {2 * n}."}
            for n in range(60)]  # fmt: skip
    (folder / "mine.json").write_text(json.dumps(rows))
    return {"dataset_path": str(folder / "mine.json"), "validation_fraction": 0.2}


def test_any_target_is_scored_by_exact_match(tmp_path: Path):
    data = own_data(tmp_path)
    gold = [sample.output for sample in HeldOut.from_options(data).samples(None)]
    assert 4 < len(gold) < 25

    def script(index: int, _) -> str:
        return f"{gold[index]}\n" if index else "It is a number."

    label, values, rows = evaluate(tasks.any_target, script, tmp_path / "out", data, count=4)
    assert label == "coalm-oumi/held_out"
    assert (values["exact_match"], values["num_samples"]) == (0.75, 4)
    assert [row["correct"] for row in rows] == [False, True, True, True]
    assert "target_loss" not in values, "an engine that only generates computes no loss"


def test_one_domain_of_a_mixture_can_be_asked(mixture: Path):
    held_out = HeldOut.from_options({"dataset_path": str(mixture), "domains": ["cra"]})
    assert {sample.domain for sample in held_out.samples(None)} == {"cra"}
    assert held_out.label("coalm-oumi/held_out") == "coalm-oumi/held_out/cra"
    with pytest.raises(CoalmError, match=r"domains\.0: input should be 'tod', 'la' or 'cra'"):
        HeldOut.from_options({"dataset_path": "x", "domains": ["chat"]})


def test_the_native_engine_computes_the_loss_that_training_reports(
    tmp_path: Path, tiny_model: Path
):
    """Oumi's own engine, beside PyTorch's cross entropy over the target's tokens."""
    import torch
    from oumi.core.configs import GenerationParams, ModelParams
    from oumi.inference import NativeTextInferenceEngine

    params = ModelParams(
        model_name=str(tiny_model), torch_dtype_str="float32", device_map="cpu",
        tokenizer_kwargs={"padding_side": "left"},
    )  # fmt: skip
    engine = NativeTextInferenceEngine(
        params, generation_params=GenerationParams(max_new_tokens=2, batch_size=4)
    )
    data = own_data(tmp_path)
    config = EvaluationConfig(model=params, output_dir=str(tmp_path / "out"))
    config.generation.max_new_tokens, config.generation.batch_size = 2, 4
    task_params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=3)
    result = tasks.any_target(task_params, config, engine, data=data)
    ((_, values),) = result.task_result["results"].items()

    total, tokens = 0.0, 0
    for sample in HeldOut.from_options(data).samples(None)[:3]:
        user = f"{sample.instruction}\n\n### Input:\n{sample.input}"
        prompt = engine._tokenizer.apply_chat_template(
            [{"role": "user", "content": user}], add_generation_prompt=True
        )["input_ids"]
        target = engine._tokenizer(f"{sample.output}<|im_end|>", add_special_tokens=False)
        ids = torch.tensor([[*prompt, *target["input_ids"]]])
        with torch.inference_mode():
            logits = engine._model(ids).logits[0, len(prompt) - 1 : -1].float()
        total += torch.nn.functional.cross_entropy(
            logits, ids[0, len(prompt) :], reduction="sum"
        ).item()
        tokens += len(target["input_ids"])
    assert values["target_loss"] == pytest.approx(total / tokens, rel=1e-4)


def test_a_targets_loss_needs_a_model_that_holds_it(tiny_model: Path):
    assert target_loss(Scripted(lambda *_: ""), []) is None  # pyright: ignore
