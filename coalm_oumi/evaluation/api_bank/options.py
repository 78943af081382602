"""The options of API-Bank in `eval_kwargs.data`."""

from pathlib import Path
from typing import Literal

from coalm_oumi.core.options import Text
from coalm_oumi.evaluation.options import TaskOptions


class ApiBankOptions(TaskOptions):
    """The options of API-Bank.

    Attributes:
        path: A file of questions in Hammer's form. If `apibank_l1.json` or `apibank_l2.json` does
            not exist, it is downloaded from Hammer's repository.
        style: The prompt style: `hammer` (the prompts of Hammer's evaluation, for Table 3),
            `coalm` (Figure 5, as CoALM was trained) or `native` (the chat template's tools).
    """

    path: Text
    style: Literal["hammer", "coalm", "native"] = "hammer"

    @property
    def label(self) -> str:
        """Names the result: the task and the level."""
        return f"coalm-oumi/api_bank/{Path(self.path).stem}"
