"""The options that this package adds to TRL's trainer: `training.trainer_kwargs` of a recipe."""

from typing import Literal

from pydantic import Field

from coalm_oumi.core.options import Options


class TrainerOptions(Options):
    """The types of the options, which `coalm_oumi.training.trainer.CoalmSftConfig` describes."""

    adapter_dtype: Literal["float32", "bfloat16"] | None = None
    max_row_tokens: int | None = Field(default=None, ge=1)
    token_metrics: bool = True
