"""The zero-shot agent of MultiWOZ: the shared forms, over MultiWOZ's tools."""

from collections.abc import Mapping, Sequence

from oumi.core.types.conversation import Message, Role

from coalm_oumi.agent import forms
from coalm_oumi.agent.turns import AgentForm, AgentTurn, Prompt, Step
from coalm_oumi.evaluation.multiwoz.world import FUNCTIONS
from coalm_oumi.rendering import prompts

_AUTOTOD_TOOLS: Mapping[str, str] = {
    "restaurant query": "query_restaurant",
    "restaurant reservation": "book_restaurant",
    "hotel query": "query_hotel",
    "hotel reservation": "book_hotel",
    "attraction query": "query_attraction",
    "train query": "query_train",
    "train tickets purchase": "book_train",
    "taxi reservation": "book_taxi",
}


def _render_autotod(turns: Sequence[AgentTurn], user: str, steps: Sequence[Step]) -> Prompt:
    """Writes AutoTOD's own instruction for MultiWOZ, which describes each domain."""
    text = prompts.render(
        "multiwoz_autotod", tools=list(_AUTOTOD_TOOLS), turns=turns, user=user, steps=steps
    )
    return Prompt([Message(role=Role.USER, content=text)])


FORMATS: Mapping[str, AgentForm] = {
    "coalm": forms.coalm(FUNCTIONS),
    "autotod": AgentForm(_render_autotod, forms.autotod_parser(FUNCTIONS, _AUTOTOD_TOOLS)),
}
"""The forms a recipe can choose from."""
