"""Files that Oumi and peft leave behind, as typed records. A damaged file is one clear error."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field

from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options
from coalm_oumi.files.jsontext import read_json


class Saved(Options):
    """The keys that are read. The file may have others."""

    model_config = ConfigDict(extra="ignore")


_T = TypeVar("_T", bound=Saved)


def read(kind: type[_T], file: Path) -> _T:
    """Reads a JSON file. A missing file has no keys.

    Raises:
        CoalmError: It is not JSON, a key is missing, or a value has another type.
    """
    return kind.read(read_json(file) if file.is_file() else {}, where=str(file))


class AdapterConfig(Saved):
    """`adapter_config.json` of peft."""

    base_model_name_or_path: str | None = None
    r: int | None = None
    lora_alpha: int | float | None = None


class ModelParams(Saved):
    """`model_params.json` of an evaluation by Oumi."""

    model_name: str | None = None
    adapter_model: str | None = None


class EvaluationResult(Saved):
    """`task_result.json` of an evaluation by Oumi: the values of each task, by name."""

    results: Mapping[str, Mapping[str, Json]] = Field(default_factory=dict[str, Mapping[str, Json]])
    start_time: str = ""
    duration_sec: float | None = None
