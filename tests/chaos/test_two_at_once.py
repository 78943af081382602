"""The same command twice at once in one output folder: the second ends with one line."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.chaos.test_evaluate import Counting, api_bank, book, write_recipe
from tests.conftest import REPO
from tests.data.cra.test_generate import well
from tests.support.chat_server import ChatServer
from tests.support.commands import Command, run


def check(
    words: tuple[str | Path, ...],
    folder: Path,
    message: str,
    is_writing: Callable[[], bool],
    release: Callable[[], None],
) -> None:
    """Starts a command again while the first run of it waits, and lets the first go on."""
    first = Command(*words, log=folder / "first")
    first.wait_until(is_writing)
    code, printed = run(*words, log=folder / "second")
    release()
    assert first.wait() == 0, first.output
    assert code == 1, printed
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.lower().startswith("error:")]
    assert message in line


def test_evaluations(tmp_path: Path):
    respond = Counting(book)
    respond.hold_after(0)
    with ChatServer(respond) as server:
        out = tmp_path / "out"
        recipe = write_recipe(tmp_path, server.url, out, api_bank(tmp_path, count=8))
        words = ("oumi", "evaluate", "-c", recipe)
        begun = lambda: bool(respond.asked)  # noqa: E731
        check(words, tmp_path, "another process is writing", begun, respond.release)
        assert respond.again == 0


def test_builds(tmp_path: Path):
    out = tmp_path / "out"
    recipe = REPO / "recipes/data/demo.yaml"
    words = ("coalm", "build", "-c", recipe, "--workers", "1", f"output_dir={out}")
    first = Command(*words, log=tmp_path / "first")
    first.wait_until(lambda: any(out.glob(".build/parts-*")))
    first.send(signal.SIGSTOP)
    code, printed = run(*words, log=tmp_path / "second")
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.output
    assert (code, printed) == (1, f"error: {out}: another build is writing this folder\n")


def test_generations(tmp_path: Path):
    respond = Counting(well)
    respond.hold_after(0)
    with ChatServer(respond) as server:
        file = tmp_path / "generate.yaml"
        options = {
            "path": "samples:sgd",
            "output_dir": str(tmp_path / "out"),
            "endpoint": {"model": "m", "base_url": server.url},
            "sampling": {"max_tokens": 100},
        }
        file.write_text(yaml.safe_dump(options))
        words = ("coalm", "cra", "generate", "-c", file)
        begun = lambda: bool(respond.asked)  # noqa: E731
        check(words, tmp_path, "another process is writing", begun, respond.release)
        assert respond.again == 0


def test_chains(tmp_path: Path):
    made, go = tmp_path / "made", tmp_path / "go"
    code = (
        f"import os, time; open({str(made)!r}, 'a').write('1')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    )
    (tmp_path / "stage.py").write_text(code)
    file = tmp_path / "chain.yaml"
    stage = {"command": f"{sys.executable} {tmp_path / 'stage.py'}", "outputs": [str(made)]}
    file.write_text(
        yaml.safe_dump({"output_dir": str(tmp_path / "out"), "stages": {"only": stage}})
    )
    words = ("coalm", "reproduce", "-c", file, "--run")
    check(words, tmp_path, "another process is writing", made.exists, go.touch)
    assert made.read_text() == "1"
