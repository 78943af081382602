"""The version of each task is the newest entry of the change log in its README."""

import importlib
import re

import pytest

from tests.conftest import REPO

READMES = sorted((REPO / "coalm_oumi/evaluation").glob("*/README.md"))


@pytest.mark.parametrize("readme", READMES, ids=lambda file: file.parent.name)
def test_the_change_log_has_every_version_of_the_task(readme):
    task = importlib.import_module(f"coalm_oumi.evaluation.{readme.parent.name}.task")
    text = readme.read_text()
    log = text.split("## Change log")[1]
    versions = [int(number) for number in re.findall(r"^- (\d+): ", log, re.MULTILINE)]
    assert versions == list(range(task.VERSION, 0, -1))
    assert re.search(rf"\b[Vv]ersion {task.VERSION}\b", text)
