"""Every way of printing to the terminal escapes control characters in data and names."""

import pytest
from oumi.cli import main as oumi_main
from rich.console import Console

from coalm_oumi.cli import app
from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering import terminal

EVIL = "\x1b]0;title\x07 [/red] [memory, live]"


def test_lines_and_tables(capsys: pytest.CaptureFixture[str]):
    made = terminal.table("name", "count")
    made.add_row(EVIL, "1")
    terminal.show(made)
    terminal.say(EVIL)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.count("\\x1b]0;title\\x07 [/red] [memory, live]") == 2


def test_an_error_of_coalm(capsys: pytest.CaptureFixture[str]):
    assert app.main(["report", "/nosuch/\x1b]0;title\x07"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: /nosuch/\\x1b]0;title\\x07: no such folder")


def test_an_error_that_oumi_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Oumi formats it into Rich's markup, where `[/red]` is a fault and `[memory, live]` vanishes."""

    @reported_by_oumi
    def fail() -> None:
        raise CoalmError(EVIL)

    monkeypatch.setattr(oumi_main, "get_app", lambda: fail)
    monkeypatch.setattr(oumi_main, "CONSOLE", Console(width=200))
    monkeypatch.setattr("sys.argv", ["oumi", "evaluate", "--help"])
    with pytest.raises(SystemExit):
        oumi_main.run()
    printed = capsys.readouterr().out
    assert printed.strip() == "Error: \\x1b]0;title\\x07 [/red] [memory, live]"
