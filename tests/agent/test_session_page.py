"""The session in docs/agent.md is what `coalm chat` prints with a scripted model and real tools.

`python -m tests.agent.test_session_page` writes it again.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coalm_oumi.agent.example_tools import NotesServer
from coalm_oumi.cli.app import main
from tests.agent.test_chat import answering
from tests.conftest import REPO

PAGE = REPO / "docs/agent.md"
BLOCK = re.compile(r"(?<=```text\n).*?(?=```\n)", re.DOTALL)

TYPED = ["How many feet are 3 metres?", "Note that down.", "y", "/trace", "/save kept", "/quit"]
ANSWERS = [
    "Thought: The user wants feet, which ConvertLength gives.\nAction: ConvertLength(metres=3)",
    "Thought: The function returned 9.84.\nSystem: 3 metres are 9.84 feet.",
    "Thought: The user wants a note.\nAction: AddNote(text='3 metres are 9.84 feet')",
    "Thought: It is the first note.\nSystem: I noted it.",
]


def session(folder: Path) -> str:
    """Returns what the terminal shows."""
    notes = NotesServer(0)
    threading.Thread(target=notes.serve_forever, daemon=True).start()
    shown = io.StringIO()
    try:
        with answering(ANSWERS) as server, _typed(folder), contextlib.redirect_stdout(shown):
            changes = [
                f"remote_params.api_url={server.url}/chat/completions",
                f"environments.1.env_kwargs.endpoint_url=http://127.0.0.1:{notes.server_port}/",
            ]
            assert main(["chat", "-c", str(REPO / "recipes/chat/own_tools.yaml"), *changes]) == 0
    finally:
        notes.shutdown()
        notes.server_close()
    return shown.getvalue()


@contextlib.contextmanager
def _typed(folder: Path) -> Iterator[None]:
    before = sys.stdin
    sys.stdin = io.StringIO("".join(f"{line}\n" for line in TYPED))
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.stdin = before


def test_the_session_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = BLOCK.search(PAGE.read_text())
    assert found is not None
    assert session(tmp_path) == found[0]
    assert (tmp_path / "kept/transcripts.jsonl").is_file()


if __name__ == "__main__":
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory() as folder:
        written = session(Path(folder))
    PAGE.write_text(BLOCK.sub(lambda _: written, PAGE.read_text(), count=1))
