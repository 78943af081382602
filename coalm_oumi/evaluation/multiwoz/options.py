"""The options of MultiWOZ in `eval_kwargs.data`."""

import math
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from coalm_oumi.core.jsontext import is_object
from coalm_oumi.core.options import Text
from coalm_oumi.evaluation.multiwoz.models import PaidModel
from coalm_oumi.evaluation.options import TaskOptions


class MultiwozOptions(TaskOptions):
    """The options of MultiWOZ.

    Attributes:
        path: MultiWOZ's archive: a folder, a `.zip`, a JSON file of dialogues, or its address.
        database: The folder of `<domain>_db.json` files, or its address.
        version: The version of MultiWOZ, `2.4` in the paper. It is part of the result's name.
        split: `train`, `validation` or `test`.
        format: How the agent is prompted: `autotod` (Table 2, for every model) or `coalm`
            (Figures 6 and 7, as CoALM was trained).
        history: The replies of earlier turns that the agent sees: its `own` (Success), or the human
            operator's in the `reference` dialogue (JGA), as in state tracking.
        user: The model that plays the user. None for the users of the reference dialogues. Only
            these have states to compare with.
        judge: The model of a second judge. None for none.
        max_steps: The most answers of the model per turn.
        max_turns: The number of turns after which a simulated user leaves.
        concurrency: The number of dialogues that run at once. Give a remote engine as many
            `num_workers`.
        usd_per_million_input: The price of a million tokens of the agent's prompts, in US dollars.
        usd_per_million_output: The price of a million tokens that the agent writes.
        name: Replaces the format in the result's name, if one evaluation has several results.
    """

    path: Text
    database: Text
    version: Text
    split: Literal["train", "validation", "test"] = "test"
    format: Literal["autotod", "coalm"] = "autotod"
    history: Literal["own", "reference"] = "own"
    user: PaidModel | None = None
    judge: PaidModel | None = None
    max_steps: int = Field(default=5, ge=1)
    max_turns: int = Field(default=15, ge=1)
    concurrency: int = Field(default=64, ge=1, le=10_000)
    usd_per_million_input: NonNegativeFloat | None = None
    usd_per_million_output: NonNegativeFloat | None = None
    name: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _version_as_text(cls, values: Any) -> Any:
        """Accepts `version: 2.4`, which YAML reads as a number."""
        version = values.get("version") if is_object(values) else None
        if isinstance(version, float) and 0 < version < math.inf:
            return {**values, "version": str(version)}
        return values

    @model_validator(mode="after")
    def _history_of_the_reference(self) -> Self:
        if self.user and self.history == "reference":
            raise ValueError("history: a simulated user answers the agent's own replies; use `own`")
        return self

    @property
    def setting(self) -> str:
        """Names who the user is, and whose replies the agent sees."""
        if self.user:
            return "simulated"
        return "reference" if self.history == "reference" else "corpus"

    @property
    def label(self) -> str:
        """Names the result: the task, the version, the setting, and the name or the form."""
        return "/".join(
            ["coalm-oumi/multiwoz", self.version, self.setting, self.name or self.format]
        )
