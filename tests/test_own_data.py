"""Runs docs/own_data.md: writes the files that it shows and types its commands, in order."""

import json
import re
from pathlib import Path

import pytest
from oumi.cli.main import get_app
from typer.main import get_command

from coalm_oumi.cli.app import main

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"# (\w+\.yaml)\n")
INTENTS = {"late": "delivery status", "broken": "refund", "empty": "complaint", "small": "exchange"}


def blocks(page: str, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page) if found == kind]


@pytest.mark.e2e
@pytest.mark.parametrize("shape", ["columns", "messages"])
def test_every_command_of_the_page(
    repo: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, shape: str
):
    """The page's own records come first; `messages` runs all that comes before training alone."""
    page = (repo / "docs/own_data.md").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output/demo").mkdir(parents=True)
    (tmp_path / "output/demo/model").symlink_to(tiny_model)
    for text in blocks(page, "yaml"):
        name = NAMED.match(text)
        assert name is not None, "every YAML of the page says what its file is called"
        (tmp_path / name.group(1)).write_text(text)
    columns, messages, asked = (json.loads(text) for text in blocks(page, "json"))
    (tmp_path / "asked.jsonl").write_text(json.dumps(asked) + "\n")
    shown = columns if shape == "columns" else messages
    records = [shown]
    for number in range(15):
        for what, intent in INTENTS.items():
            said = f"Parcel {number} is {what}."
            columns_ = {**columns, "input": said, "output": intent}
            turns = [{"role": "user", "content": said}, {"role": "assistant", "content": intent}]
            records.append(columns_ if shape == "columns" else {"messages": turns})
    records.append({"instruction": "Nothing to learn.", "output": ""})
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    commands = [line for text in blocks(page, "bash") for line in text.splitlines()]
    assert [command.split()[:2] for command in commands] == [
        ["coalm", "check"], ["coalm", "build"], ["coalm", "check"], ["oumi", "train"],
        ["coalm", "check"], ["oumi", "evaluate"], ["oumi", "infer"], ["coalm", "merge"],
    ]  # fmt: skip
    for command in commands[: len(commands) if shape == "columns" else 3]:
        program, *words = command.split()
        if "eval" in command and program == "coalm":
            assert (tmp_path / "output/mine/train/adapter_config.json").is_file()
        if program == "coalm":
            assert main(words) == 0, command
        else:  # in this process, which has imported Oumi already
            get_command(get_app()).main(words, prog_name="oumi", standalone_mode=False)

    manifest = json.loads((tmp_path / "data/mine/manifest.json").read_text())
    counts = {split: manifest["samples"][split]["alpaca"] for split in ("train", "validation")}
    assert sum(counts.values()) == 61 and counts["validation"] > 4
    (rejected,) = manifest["rejected"]["alpaca"]
    assert rejected["where"].endswith("mine.jsonl:62")
    if shape == "messages":
        return
    answers = (tmp_path / "output/mine/eval/tuned/answers/held_out.jsonl").read_text().splitlines()
    assert len(answers) == counts["validation"]
    (answered,) = (tmp_path / "answered.jsonl").read_text().splitlines()
    assert json.loads(answered)["messages"][-1]["role"] == "assistant"
    assert (tmp_path / "output/mine/merged/config.json").is_file()
    (result,) = (tmp_path / "output/mine/eval/tuned").glob("*/task_result.json")
    values = json.loads(result.read_text())["results"]["coalm-oumi/held_out"]
    assert 0 <= values["exact_match"] <= 1 and values["target_loss"] > 0

    (code,) = blocks(page, "python")
    namespace: dict[str, object] = {}
    exec(compile(code, "docs/own_data.md", "exec"), namespace)  # noqa: S102
    assert len(namespace["dataset"]) == counts["train"]  # pyright: ignore
