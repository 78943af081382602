"""CoALM's parsers in the classes of a real vLLM, whose environment `make vllm-env` builds."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO

PYTHON = Path(os.environ.get("COALM_VLLM_PYTHON", REPO / ".vllm-env/bin/python"))

ELY, YORK = (["find", json.dumps({"city": city})] for city in ("Ely", "York"))
BOTH = json.dumps([{"name": "find", "arguments": {"city": city}} for city in ("Ely", "York")])
ANSWERS = {
    "Thought: I look.\nAction: find(city='Ely')": ("I look.", None, [ELY]),
    "Thought: No call.\nSystem: Hello there, friend.": ("No call.", "Hello there, friend.", []),
    BOTH: (None, None, [ELY, YORK]),
    "Thought: Hm.\nAction: find(city='Ely'": ("Hm.", "Action: find(city='Ely'", []),
}


@pytest.mark.vllm
@pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here: make vllm-env")
def test_the_parsers_in_vllm():
    script = Path(__file__).with_name("parsers.py")
    done = subprocess.run(
        [PYTHON, script], input=json.dumps(list(ANSWERS)), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO), "VLLM_TARGET_DEVICE": "cpu",
             "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for (text, (reasoning, content, calls)), found in zip(
        ANSWERS.items(), json.loads(done.stdout.splitlines()[-1]), strict=True
    ):
        answer = {"reasoning": reasoning, "content": content, "calls": calls}
        assert found == [answer, answer], text
