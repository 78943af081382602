"""Real kills of `oumi evaluate` against a server on loopback that counts what it is asked.

The suite takes one kill of each kind. `make chaos` takes ten of each.
"""

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.evaluation.multiwoz.test_lead import respond as play
from tests.support.chat_server import ChatServer, Reply, Request, completion
from tests.support.commands import Command, run
from tests.support.multiwoz_data import TABLE, TRIP, write_databases

ROUNDS = int(os.environ.get("COALM_CHAOS_ROUNDS", "1"))
WORKERS = 8
STEP = 5  # answers between two kills
KILLS = [
    (sign, group)
    for sign in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    for group in (False, True)
]


class Counting:
    """Answers each question always alike, and counts how often each is asked.

    Attributes:
        asked: The questions by their content.
        count: How many requests came.
    """

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.asked: Counter[str] = Counter()
        self.count = 0
        self._answer = answer
        self._limit = math.inf

    def __call__(self, request: Request) -> Reply:
        self.asked[hashlib.sha256(request.body).hexdigest()] += 1
        self.count = place = self.count + 1
        return replace(self._answer(request), until=lambda: place <= self._limit)

    def hold_after(self, count: int) -> None:
        """Answers this many more questions, and keeps those after them waiting."""
        self._limit = self.count + count

    def release(self) -> None:
        """Answers all that wait, and all that come."""
        self._limit = math.inf

    @property
    def again(self) -> int:
        """How many questions were asked that had been asked before."""
        return self.asked.total() - len(self.asked)


def book(request: Request) -> Reply:
    """Answers a third of API-Bank's questions right."""
    number = int(hashlib.sha256(request.body).hexdigest(), 16)
    call = [{"name": "BookTable", "arguments": {"day": ["Monday", "Friday", "never"][number % 3]}}]
    return completion(json.dumps(call))


def api_bank(folder: Path, count: int = 64) -> Mapping[str, object]:
    """Writes questions of API-Bank, and returns the task."""
    tool = {"name": "BookTable", "description": "Books.", "parameters": {"day": {"type": "str"}}}
    questions = [
        {
            "query": [{"role": "user", "content": f"A table for {n}.\nGenerate API Request:"}],
            "tools": [tool],
            "answers": [{"name": "BookTable", "arguments": {"day": "Monday"}}],
        }
        for n in range(count)
    ]
    (folder / "q.json").write_text(json.dumps(questions))
    return {"task_name": "coalm-oumi/api_bank", "path": str(folder / "q.json"), "style": "coalm"}


def multiwoz(folder: Path) -> Mapping[str, object]:
    """Writes dialogues of MultiWOZ that differ in what is asked, and returns the task."""
    dialogues = {}
    for n, dialogue in itertools.product(range(8), (TABLE, TRIP)):
        text = (
            json.dumps(dialogue).replace("please.", f"please ({n}).").replace(":00.", f":00 ({n}).")
        )
        dialogues[f"{'TABLE' if dialogue is TABLE else 'TRIP'}{n}.json"] = json.loads(text)
    (folder / "dialogues.json").write_text(json.dumps(dialogues))
    return {
        "task_name": "coalm-oumi/multiwoz",
        "path": str(folder / "dialogues.json"),
        "database": str(write_databases(folder / "db")),
        "version": "2.4",
        "format": "coalm",
    }


def write_recipe(folder: Path, url: str, output: Path, task: Mapping[str, object]) -> Path:
    data = dict(task)
    recipe = {
        "tasks": [
            {
                "evaluation_backend": "custom",
                "task_name": data.pop("task_name"),
                "eval_kwargs": {"data": data},
            }
        ],
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


def metrics(output: Path) -> dict[str, float]:
    """Returns the numbers of the one result under a folder."""
    (file,) = output.glob("custom_*/task_result.json")
    (values,) = json.loads(file.read_text())["results"].values()
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def recorded(output: Path) -> int:
    """Returns how many answers are recorded under a folder."""
    files = list(output.glob("raw/*.jsonl"))
    return max(0, sum(file.read_bytes().count(b"\n") for file in files) - len(files))


@pytest.mark.parametrize(
    ("task", "answer"), [(api_bank, book), (multiwoz, play)], ids=["api_bank", "multiwoz"]
)
def test_a_killed_evaluation_resumes_and_pays_again_for_what_was_under_way_alone(
    tmp_path: Path, task: Callable[[Path], Mapping[str, object]], answer: Callable[[Request], Reply]
):
    respond = Counting(answer)
    log, out = tmp_path / "log", tmp_path / "out"
    with ChatServer(respond) as server:
        quiet = write_recipe(tmp_path, server.url, tmp_path / "quiet", task(tmp_path))
        code, printed = run("oumi", "evaluate", "-c", quiet, log=log)
        assert code == 0, printed
        undisturbed, questions = metrics(tmp_path / "quiet"), set(respond.asked)
        assert respond.again == 0
        recipe = write_recipe(tmp_path, server.url, out, task(tmp_path))
        for _ in range(ROUNDS):
            shutil.rmtree(out, ignore_errors=True)
            respond.asked.clear()
            for sign, group in KILLS:
                before = recorded(out)
                respond.hold_after(STEP)
                command = Command("oumi", "evaluate", "-c", recipe, log=log)
                command.wait_until(lambda goal=before + STEP: recorded(out) >= goal)
                command.send(sign, group=group)
                if sign is signal.SIGINT:
                    command.wait_until(lambda command=command: "under way" in command.output)
                    respond.release()
                code = command.wait()
                assert code == (130 if sign is signal.SIGINT else -sign), command.output
            respond.release()
            code, printed = run("oumi", "evaluate", "-c", recipe, log=log)
            assert code == 0, printed
            assert "recorded answers" in printed
            assert metrics(out) == undisturbed
            assert set(respond.asked) == questions
            print(f"{len(KILLS)} kills: {respond.again} of {len(questions)} questions asked again")
            # What was under way at Ctrl-C came, and was kept.
            assert respond.again <= WORKERS * sum(sign is not signal.SIGINT for sign, _ in KILLS)


def test_a_changed_answer_changes_the_metrics(tmp_path: Path):
    """The comparison above can fail: one other answer among 64 moves the metrics."""
    found = []
    for number, other in enumerate((None, "A table for 7.")):

        def answer(request: Request, other: str | None = other) -> Reply:
            if other and other in request.body.decode():
                return completion('[{"name": "BookTable", "arguments": {"day": "some day"}}]')
            return completion('[{"name": "BookTable", "arguments": {"day": "Monday"}}]')

        out = tmp_path / str(number)
        with ChatServer(answer) as server:
            recipe = write_recipe(tmp_path, server.url, out, api_bank(tmp_path))
            code, printed = run("oumi", "evaluate", "-c", recipe, log=tmp_path / "log")
            assert code == 0, printed
        found.append(metrics(out))
    assert found[0] != found[1]


@contextlib.contextmanager
def interrupted(tmp_path: Path) -> Iterator[tuple[Command, Counting]]:
    """An evaluation after Ctrl-C, with a question under way for each worker."""
    respond = Counting(book)
    respond.hold_after(0)
    with ChatServer(respond) as server:
        recipe = write_recipe(tmp_path, server.url, tmp_path / "out", api_bank(tmp_path))
        command = Command("oumi", "evaluate", "-c", recipe, log=tmp_path / "log")
        command.wait_until(lambda: respond.count == WORKERS)
        command.send(signal.SIGINT)
        yield command, respond


def test_ctrl_c_asks_nothing_more_and_keeps_what_comes(tmp_path: Path):
    with interrupted(tmp_path) as (command, respond):
        command.wait_until(lambda: f"5 s for {WORKERS} answers under way" in command.output)
        respond.release()
        assert command.wait() == 130
        assert "Traceback" not in command.output
        assert respond.count == recorded(tmp_path / "out") == WORKERS


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path):
    with interrupted(tmp_path) as (command, respond):
        command.wait_until(lambda: "answers under way" in command.output)
        command.send(signal.SIGINT)
        assert command.wait() == -signal.SIGINT
        respond.release()
