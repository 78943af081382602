from pathlib import Path

import pytest

from coalm_oumi.cli.app import main


def test_build_and_its_summary(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "data"
    assert main(["build", "-c", str(repo / "recipes/data/demo.yaml"), f"output_dir={output}"]) == 0
    printed = capsys.readouterr().out
    assert "1 records gave no sample" in printed
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
    assert "source sgd: unknown option `speed`" in capsys.readouterr().err
