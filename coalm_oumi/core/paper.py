"""The paper's numbers, from `paper.yaml`: Tables 1-5 and section 4.2."""

import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml


@functools.cache
def read() -> Mapping[str, Any]:
    """Returns `paper.yaml`, parsed once per process."""
    return yaml.safe_load((files("coalm_oumi.core") / "paper.yaml").read_text(encoding="utf-8"))
