"""Reads a training recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

from coalm_oumi.errors import CoalmError

if TYPE_CHECKING:
    from oumi.core.configs import TrainingConfig


def load(path: Path) -> "TrainingConfig":
    """Reads a training recipe as Oumi does.

    Raises:
        CoalmError: No such file, or not a training configuration.
    """
    from oumi.core.configs import TrainingConfig
    from oumi.exceptions import OumiConfigError

    try:
        return TrainingConfig.from_yaml(path)
    except OumiConfigError as error:
        reason = " ".join(str(error).split())
        raise CoalmError(f"{path}: not a training recipe ({reason})") from error
