"""The prompt that training samples show is the one that the agent writes at run time."""

import pytest

from coalm_oumi.agent import forms
from coalm_oumi.agent.turns import AgentTurn, Step
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra import dialogue as cra
from coalm_oumi.data.cra import sgd
from coalm_oumi.data.cra.annotation import annotated_turns
from coalm_oumi.data.cra.dialogue import CraDialogue, CraTurn
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.files.resources import resolve
from coalm_oumi.formats.react import ReactAnswer


def as_agent_turn(turn: CraTurn) -> AgentTurn:
    if turn.api is None:
        steps = [Step("", ReactAnswer(turn.thought, reply=turn.system), "")]
    else:
        steps = [
            Step("", ReactAnswer(turn.thought, (turn.api.call,)), turn.api.observation),
            Step("", ReactAnswer(turn.api.thought, reply=turn.system), ""),
        ]
    return AgentTurn(turn.user, tuple(steps), turn.system)


@pytest.mark.parametrize("signatures", ["required", "full"])
def test_a_decision_sample_has_the_agents_prompt(signatures: sgd.Signatures):
    folder = resolve("samples:sgd")
    services = sgd.read_services(folder)
    _, record = next(sgd.records(folder))
    _, used = sgd.identify(record, services)
    functions = sgd.distinct(sgd.functions(services, used, "all", signatures))
    turns = annotated_turns(record, services, listed=functions)
    form = forms.coalm(functions)
    compared = 0
    for number, turn in enumerate(turns):
        dialogue = CraDialogue("d", functions, turns[: number + 1])
        *_, sample = cra.samples(dialogue, ["decision"])
        if isinstance(sample, Sample):
            earlier = [as_agent_turn(t) for t in turns[:number]]
            (message,) = form.render(earlier, turn.user, []).messages
            assert message.content == user_message(sample.instruction, sample.input)
            compared += 1
    assert compared > 3
