"""What the worker replies is checked where it comes in."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.bfcl import replies

VERDICT = {"category": "simple", "index": 3, "valid": True, "decoded": [{"f": {"a": 1.5}}]}
MESSAGE = {"role": "user", "content": "Hi.", "name": "x"}
QUESTION: dict[str, Any] = {
    "id": "simple_3", "kind": "single_turn", "turns": [[MESSAGE]], "functions": [{"name": "f"}],
    "prompted": [MESSAGE], "tools": [], "expected": None,
    "additions": {"1": {"prompt": "p", "short_prompt": "s", "tools": []}},
}  # fmt: skip


def test_what_is_right_stays_as_it_is():
    odd = {**VERDICT, "valid": False, "type": "t", "reason": ["\ud800", {"x": None}]}
    assert replies.read(replies.VERDICTS, json.dumps([VERDICT, odd]), "x") == [VERDICT, odd]
    assert replies.read(replies.QUESTIONS, json.dumps([QUESTION]), "x") == [QUESTION]
    assert replies.read(replies.HANDLER, '{"error": "no"}', "x") == {"error": "no"}


@pytest.mark.parametrize(
    ("kind", "reply", "problem"),
    [
        (replies.VERDICTS, "[{", "not JSON"),
        (replies.VERDICTS, "[" * 100_000, "not JSON"),
        (replies.VERDICTS, json.dumps(VERDICT), "valid list"),
        (replies.VERDICTS, json.dumps([{**VERDICT, "valid": 1}]), "0.valid"),
        (replies.VERDICTS, json.dumps([{**VERDICT, "index": "3"}]), "0.index"),
        (replies.VERDICTS, json.dumps([{**VERDICT, "right": True}]), "0.right"),
        (replies.QUESTIONS, json.dumps([{**QUESTION, "kind": "poem"}]), "0.kind"),
        (replies.QUESTIONS, json.dumps([{**QUESTION, "turns": [MESSAGE]}]), "0.turns.0"),
        (replies.QUESTIONS, json.dumps([{**QUESTION, "additions": {"x": {}}}]), "0.additions.x"),
        (replies.CALLS, '[["f()"], 3]', "1"),
        (replies.STEP_RESULTS, '{"step": 0, "results": [1]}', "results.0"),
        (replies.STEPS, '[{"result": "x"}]', "0."),
    ],
)
def test_a_damaged_reply_is_one_clear_error(kind: TypeAdapter[Any], reply: str, problem: str):
    with pytest.raises(CoalmError) as caught:
        replies.read(kind, reply, "judging answers")
    message = str(caught.value)
    assert message.startswith("the worker of bfcl-eval gave a damaged reply at judging answers: ")
    assert problem in message and "\n" not in message
