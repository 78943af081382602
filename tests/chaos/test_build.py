"""Processes of a build end with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.support import PATIENCE

CHILDREN = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from coalm_oumi.files.children import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    )
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone offers it")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, sign: int):
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=REPO
    )
    assert process.stdout is not None
    children = [int(number) for number in process.stdout.readline().split()]
    assert children
    os.kill(process.pid, sign)
    process.wait(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while any(_is_running(child) for child in children):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def _is_running(process_id: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return False
