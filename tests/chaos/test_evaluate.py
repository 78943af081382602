"""Real kills of `oumi evaluate` against a server on loopback that counts what it is asked.

`COALM_CHAOS_ROUNDS=10` kills ten times as often; CI takes one round of each signal.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from tests.conftest import REPO
from tests.support.chat_server import ChatServer, Reply, Request, completion

ROUNDS = int(os.environ.get("COALM_CHAOS_ROUNDS", "1"))
QUESTIONS, WORKERS = 60, 8
DELAY = 0.25


class Counting:
    """Answers each question always alike, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Reply:
        name = hashlib.sha256(request.body).hexdigest()
        self.asked[name] += 1
        day = ["Monday", "Friday", "never"][int(name, 16) % 3]
        call = [{"name": "BookTable", "arguments": {"day": day}}]
        return completion(json.dumps(call), delay=DELAY)


def write_recipe(folder: Path, url: str, output: Path) -> Path:
    tool = {"name": "BookTable", "description": "Books.", "parameters": {"day": {"type": "str"}}}
    questions = [
        {
            "query": [{"role": "user", "content": f"A table for {n}.\nGenerate API Request:"}],
            "tools": [tool],
            "answers": [{"name": "BookTable", "arguments": {"day": "Monday"}}],
        }
        for n in range(QUESTIONS)
    ]
    (folder / "q.json").write_text(json.dumps(questions))
    task = {
        "evaluation_backend": "custom",
        "task_name": "coalm-oumi/api_bank",
        "eval_kwargs": {"data": {"path": str(folder / "q.json"), "style": "coalm"}},
    }
    recipe = {
        "tasks": [task],
        "model": {"model_name": "m"},
        "inference_engine": "REMOTE",
        "inference_remote_params": {
            "api_url": f"{url}/chat/completions",
            "num_workers": WORKERS,
            "use_adaptive_concurrency": False,
            "max_retries": 1,
        },
        "generation": {"max_new_tokens": 32},
        "output_dir": str(output),
    }
    file = folder / "eval.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def start(recipe: Path) -> subprocess.Popen[str]:
    oumi = Path(sys.executable).with_name("oumi")
    return subprocess.Popen(
        [oumi, "evaluate", "-c", recipe],
        cwd=REPO,
        env={**os.environ, "DO_NOT_TRACK": "1", "WANDB_MODE": "disabled", "COLUMNS": "400"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def metrics(output: Path) -> dict:
    (file,) = output.glob("custom_*/task_result.json")
    (values,) = json.loads(file.read_text())["results"].values()
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def recorded(output: Path) -> int:
    lines = [file.read_bytes().splitlines() for file in output.glob("raw/*.jsonl")]
    return max(0, sum(map(len, lines)) - len(lines))


def test_a_killed_evaluation_resumes_and_pays_again_for_what_was_under_way_alone(tmp_path: Path):
    respond = Counting()
    with ChatServer(respond) as server:
        recipe = write_recipe(tmp_path, server.url, tmp_path / "out")
        kills = 0
        for sign in [signal.SIGKILL, signal.SIGTERM] * ROUNDS:
            before = recorded(tmp_path / "out")
            if before > QUESTIONS - 2 * WORKERS:
                shutil.rmtree(tmp_path / "out")
                kills, before = 0, 0
                respond.asked.clear()
            process = start(recipe)
            deadline = time.monotonic() + 60
            while recorded(tmp_path / "out") < before + WORKERS + 3:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
            (os.killpg if kills % 2 else os.kill)(process.pid, sign)
            process.communicate(timeout=30)
            kills += 1
        process = start(recipe)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert "recorded answers" in output
        assert len(respond.asked) == QUESTIONS
        assert sum(respond.asked.values()) - QUESTIONS <= kills * WORKERS
        disturbed = metrics(tmp_path / "out")
        respond.asked.clear()
        quiet = write_recipe(tmp_path, server.url, tmp_path / "quiet")
        process = start(quiet)
        process.communicate(timeout=60)
        assert metrics(tmp_path / "quiet") == disturbed
