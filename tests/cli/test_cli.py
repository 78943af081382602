import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coalm_oumi.cli.app import main
from coalm_oumi.files.resources import resolve
from tests.conftest import run
from tests.support import PATIENCE


def test_build_and_its_summary(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "data"
    assert main(["build", "-c", str(repo / "recipes/data/demo.yaml"), f"output_dir={output}"]) == 0
    printed = capsys.readouterr().out
    assert "1 record without a sample" in printed
    assert printed.splitlines()[0].startswith("train: ")
    assert {file.name for file in output.iterdir()} == {
        "README.md", "manifest.json", "train-00000.parquet", "validation-00000.parquet",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "-c", "nosuch.yaml"], "nosuch.yaml: no such file"),
        (["report", "nosuch"], "nosuch: no such folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert len(error.splitlines()) == 1


def test_a_bad_option_of_a_source(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        "build",
        "-c",
        str(repo / "recipes/data/demo.yaml"),
        f"output_dir={tmp_path / 'x'}",
    ]
    assert main([*arguments, "sources.sgd.options={speed: 1}"]) == 1
    assert "source sgd: unknown key `speed`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["nosuch"], "No such command 'nosuch'"),
        (["build"], "Missing option '-c' / '--config'"),
        (["plan", "recipes/coalm_8b.yaml", "--price", "0"], "expected a number above 0, found 0"),
        (["plan", "recipes/coalm_8b.yaml", "--gpus", "none"], "'none' is not a valid integer"),
        (["reproduce"], "give one of --scale and --config"),
        (["cra"], "Missing command"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["cra", "generate", "-h"], ["--version"]])
def test_help_and_version_end_with_0(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    assert "coalm" in capsys.readouterr().out


def test_completion_names_the_commands(tmp_path: Path):
    done = run(
        "coalm", cwd=tmp_path, _COALM_COMPLETE="complete_bash", COMP_WORDS="coalm re", COMP_CWORD="1"
    )  # fmt: skip
    assert done.stdout.split() == ["recipes", "report", "reproduce"]


def test_a_wrong_path_is_known_before_anything_is_loaded(tmp_path: Path):
    recipe, data = "no such file; `coalm recipes --copy`", "no such file or folder; `coalm build`"
    commands = {
        "stats nosuch": data, "merge nosuch out": "no adapter_config.json", "build -c nosuch": recipe,
        "check nosuch": recipe, "plan nosuch": recipe, "quantize -c nosuch out": recipe,
        "chat -c nosuch": recipe, "doctor -c nosuch": recipe, "reproduce -c nosuch": recipe,
        "cra generate -c nosuch": recipe,
    }  # fmt: skip
    code = (
        "import sys\nfrom coalm_oumi.cli.app import main\n"
        f"codes = {{main(words.split()) for words in {list(commands)!r}}}\n"
        "print(codes, [m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout == "{1} []\n"
    for line, reason in zip(done.stderr.splitlines(), commands.values(), strict=True):
        assert line.startswith(f"error: nosuch: {reason}"), line


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_build_prints_no_traceback(repo: Path, tmp_path: Path, workers: int):
    """Sends Ctrl-C as a terminal does, to every process of the command."""
    raw = tmp_path / "raw"
    shutil.copytree(resolve("samples:snips"), raw)
    file = raw / "train_AddToPlaylist_full.json"
    utterance = json.loads(file.read_text())["AddToPlaylist"][0]
    file.write_text(json.dumps({"AddToPlaylist": [utterance] * 100_000}))
    process = subprocess.Popen(
        [sys.executable, "-m", "coalm_oumi", "build", "-c", repo / "recipes/data/demo.yaml",
         f"output_dir={tmp_path / 'out'}", f"sources.snips.path={raw}",
         "--workers", str(workers)],
        cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob("out/.build/parts-*/snips-0/*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in error


def test_recipes_are_listed_and_copied(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["build", "-c", "recipes/data/demo.yaml"]) == 1
    assert "`coalm recipes --copy` writes the recipes here" in capsys.readouterr().err
    assert main(["recipes"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(listed) == sorted(
        str(file.relative_to(repo)) for file in (repo / "recipes").rglob("*.yaml")
    )
    assert main(["recipes", "--copy"]) == 0
    copied = {file.relative_to(tmp_path): file.read_text() for file in tmp_path.rglob("*.yaml")}
    assert copied == {Path(name): (repo / name).read_text() for name in listed}
    assert Path("recipes/multiwoz/README.md").is_file(), "a recipe's head names it"
    assert main(["recipes", "--copy"]) == 0, "what is there already may stay"
    Path("recipes/coalm_8b.yaml").write_text("changed")
    assert main(["recipes", "8b", "--copy"]) == 1
    assert "recipes/coalm_8b.yaml: exists with different content" in capsys.readouterr().err
    assert Path("recipes/coalm_8b.yaml").read_text() == "changed"
    assert main(["recipes", "nosuch"]) == 1
    assert "no recipe has nosuch in its path" in capsys.readouterr().err
    assert main(["build", "-c", "recipes/data/demo.yaml"]) == 0
