"""Your own records: three columns or chat messages, in every kind of file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.mixture.build import build
from coalm_oumi.data.mixture.config import BuildConfig, SourceConfig
from coalm_oumi.data.mixture.store import read_samples, split_files
from coalm_oumi.data.sources import Rejected, open_source, read
from coalm_oumi.data.sources.alpaca import sample_columns

ROWS = [
    {"instruction": "Name the capital.", "input": "Norway", "output": "Oslo"},
    {"instruction": "Say hello.", "input": None, "output": "Hello!"},
    {"instruction": "Say good night.", "output": "Good night!"},
    {"instruction": "Say nothing.", "input": "", "output": " \n"},
]
KEPT = [("Name the capital.", "Norway", "Oslo"), ("Say hello.", "", "Hello!"),
        ("Say good night.", "", "Good night!")]  # fmt: skip
REST = ["Hello!", "Good night!"]


def write(file: Path, rows: list[dict[str, object]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl" or "lines" in file.stem:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        file.write_text(text, encoding="utf-8-sig" if "bom" in file.stem else "utf-8")
    else:
        encoding = "utf-8-sig" if "bom" in file.stem else "utf-8"
        file.write_text(json.dumps(rows, indent=1), encoding=encoding)
    return file


FILES = ["a.json", "bom.json", "a.jsonl", "bom.jsonl", "lines.json", "a.parquet"]


@pytest.mark.parametrize("name", FILES)
def test_a_source_reads_every_kind_of_file(tmp_path: Path, name: str):
    items = list(read(open_source("alpaca", write(tmp_path / name, ROWS), {"domain": "la"})))
    samples = [item for item in items if isinstance(item, Sample)]
    assert [(s.instruction, s.input, s.output) for s in samples] == KEPT
    assert {(s.source, s.domain) for s in samples} == {("alpaca", "la")}
    (rejected,) = [item for item in items if isinstance(item, Rejected)]
    assert "`output` is empty" in rejected.reason
    assert str(tmp_path / name) in rejected.where


@pytest.mark.parametrize("name", FILES)
def test_a_mixture_reads_every_kind_of_file(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    file = write(tmp_path / name, ROWS)
    table = read_samples(split_files(file, "train")[0])
    assert [(r["instruction"], r["input"], r["output"]) for r in table] == KEPT
    assert table.column_names == ["instruction", "input", "output"]
    assert "left out 1 record without a sample" in caplog.text
    with pytest.raises(CoalmError, match="`output` is empty"):
        read_samples([file], strict=True)


BAD_LINES = {
    "cut off": b'{"instruction": "Say',
    "not UTF-8": b'{"instruction": "\xff", "output": "o"}',
    "NaN": b'{"instruction": "i", "output": "o", "score": NaN}',
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_the_lines_after_one_that_is_not_json_are_read(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
):
    file = write(tmp_path / "a.jsonl", ROWS[:3])
    first, *others = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([first, line, b"", *others]))
    items = list(read(open_source("alpaca", file, {})))
    assert [item.output for item in items if isinstance(item, Sample)] == ["Oslo", *REST]
    (rejected,) = [item for item in items if isinstance(item, Rejected)]
    assert rejected.where == f"{file}:2" and rejected.reason.startswith("not valid JSON: ")
    assert [row["output"] for row in read_samples([file])] == ["Oslo", *REST]  # pyright: ignore
    assert f"{file}:2: not valid JSON: " in caplog.text
    with pytest.raises(CoalmError, match=r"a\.jsonl:2: not valid JSON: "):
        read_samples([file], strict=True)


def test_a_file_without_a_line_of_json_stops(tmp_path: Path):
    file = tmp_path / "a.jsonl"
    file.write_text("instruction,output\nSay hello.,Hello!\n")
    with pytest.raises(CoalmError, match=r"a\.jsonl:1: not valid JSON: "):
        read_samples([file])
    config = BuildConfig(
        output_dir=str(tmp_path / "out"),
        sources={"alpaca": SourceConfig(path=str(file))},  # pyright: ignore
    )
    with pytest.raises(
        CoalmError, match=r"no record gave a sample; 2 are bad, the first: .*a\.jsonl:1"
    ):
        build(config)


def test_a_snapshot_of_a_hub_data_set(tmp_path: Path):
    write(tmp_path / "data/train-00000-of-00001.parquet", ROWS[:1])
    write(tmp_path / "data/validation-00000-of-00001.parquet", ROWS[1:2])
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "README.md").write_text("---\n---\n")
    (train,), is_split = split_files(tmp_path, "train")
    assert is_split and train.name == "train-00000-of-00001.parquet"
    (held_out,), is_split = split_files(tmp_path, "validation")
    assert is_split and read_samples([held_out])[0]["output"] == "Hello!"
    (sample,) = read(open_source("alpaca", tmp_path, {}))
    assert isinstance(sample, Sample) and sample.output == "Oslo"


def chat(*messages: tuple[str, str], tools: object = None) -> dict[str, str]:
    turns = [{"role": role, "content": text} for role, text in messages]
    return sample_columns({"messages": turns, "tools": tools})


def test_one_question_is_the_whole_prompt():
    assert chat(("user", "Hi"), ("assistant", "Hello!")) == {
        "instruction": "Hi", "input": "", "output": "Hello!",
    }  # fmt: skip
    assert chat(("system", "Be brief."), ("user", "Hi"), ("assistant", "Yo")) == {
        "instruction": "Be brief.", "input": "Hi", "output": "Yo",
    }  # fmt: skip


def test_earlier_turns_are_the_history_and_later_ones_do_not_count():
    columns = chat(
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "A city?"),
        ("assistant", "Oslo"), ("user", "Thanks"),
    )  # fmt: skip
    assert columns["input"] == "User: A city?"
    assert columns["output"] == "Oslo"
    instruction = columns["instruction"]
    assert instruction.startswith("Be brief.\n\n[BEGIN OF CONVERSATION HISTORY]\nUser: Hi\n")
    assert "System: Hello!" in instruction and "Oslo" not in instruction


TOOL = {
    "name": "fares",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def test_tool_calls_are_json_in_targets_and_history():
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "fares", "arguments": '{"city": "Oslo"}'},
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Fares "}, {"type": "text", "text": "to Oslo?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "20 euros", "tool_call_id": "1"},
        {"role": "assistant", "content": "It costs 20 euros."},
    ]  # fmt: skip
    tools = [{"type": "function", "function": TOOL}]
    asked = sample_columns({"messages": messages[:2], "tools": json.dumps(tools)})
    assert asked["input"] == "User: Fares to Oslo?"
    assert json.loads(asked["output"]) == [{"name": "fares", "arguments": {"city": "Oslo"}}]
    assert json.dumps([TOOL]) in asked["instruction"]
    told = sample_columns({"messages": messages, "tools": tools})
    assert told["input"] == "Observation: 20 euros"
    assert f"System: {asked['output']}" in told["instruction"]
    assert told["output"] == "It costs 20 euros."
    # Many recordings have a word before the call. It stays in a history.
    messages[1] = {"role": "assistant", "content": "One moment.", "tool_calls": [call]}
    spoken = sample_columns({"messages": messages, "tools": tools})
    assert f"System: One moment.\n{asked['output']}\n" in spoken["instruction"]


@pytest.mark.parametrize("called", [("trains", "{}"), ("fares", '{"town": "Oslo"}')])
def test_a_target_calls_what_its_own_tools_declare(called: tuple[str, str]):
    name, arguments = called
    call = {"function": {"name": name, "arguments": arguments}}
    messages = [{"role": "user", "content": "Fares?"}, {"role": "assistant", "tool_calls": [call]}]
    with pytest.raises(
        CoalmError, match=r"messages\[1\]: `(trains` is not among|fares` has no par)"
    ):
        sample_columns({"messages": messages, "tools": [TOOL]})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("Hi", "`messages` is not a list"),
        ([{"role": "user", "content": "Hi"}], "no assistant turn"),
        ([{"role": "assistant", "content": "Hi"}], "nothing before"),
        ([{"role": "bot", "content": "Hi"}], r"messages\[0\]: unknown role 'bot'"),
        ([{"role": "user", "content": " "}], r"messages\[0\]: the user's turn is empty"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "its content is not text"),
        ([{"role": "user", "content": "a"},
          {"role": "assistant", "content": "b", "tool_calls": [{"name": "f"}]}], "both text and tool"),
    ],
)  # fmt: skip
def test_bad_messages_name_the_turn(messages: object, reason: str):
    with pytest.raises(CoalmError, match=reason):
        sample_columns({"messages": messages})


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_chat_messages_are_a_mixture(tmp_path: Path, suffix: str):
    rows: list[dict[str, object]] = [
        {"messages": [{"role": "user", "content": f"Question {n}"},
                      {"role": "assistant", "content": f"Answer {n}" if n else ""}]}
        for n in range(3)
    ]  # fmt: skip
    table = read_samples([write(tmp_path / f"chat.{suffix}", rows)])
    assert [(r["instruction"], r["output"]) for r in table] == [
        ("Question 1", "Answer 1"), ("Question 2", "Answer 2"),
    ]  # fmt: skip


def test_tools_of_a_parquet_file_keep_their_own_parameters(tmp_path: Path):
    def tool(name: str, parameter: str) -> dict[str, object]:
        properties = {parameter: {"type": "string"}}
        return {"name": name, "parameters": {"type": "object", "properties": properties}}

    tools = [tool("fares", "city"), tool("weather", "day")]
    call = {"function": {"name": "fares", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "user", "content": "Fares?", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    file = write(tmp_path / "chat.parquet", [{"messages": messages, "tools": tools}])
    (row,) = read_samples([file])
    assert json.dumps(tools) in row["instruction"]
    assert json.loads(row["output"]) == [{"name": "fares", "arguments": {"city": "Oslo"}}]


def test_own_data_is_built_and_split(tmp_path: Path):
    rows: list[dict[str, object]] = [
        {"instruction": "Double it.", "input": str(n), "output": str(2 * n)} for n in range(60)
    ]
    mine = write(tmp_path / "mine.jsonl", [*rows, {"instruction": "x", "output": ""}])
    with mine.open("a") as file:
        file.write('{"instruction": "cut')
    config = BuildConfig(
        output_dir=str(tmp_path / "out"),
        sources={"alpaca": SourceConfig(path=str(mine), options={"domain": "la"})},  # pyright: ignore
        validation_fraction=0.2,
    )
    manifest = json.loads((build(config) / "manifest.json").read_text())
    counts = {split: manifest["samples"][split]["alpaca"] for split in ("train", "validation")}
    assert sum(counts.values()) == 60 and counts["validation"] > 3
    assert manifest["domains"]["train"] == {"la": counts["train"]}
    assert [item["where"] for item in manifest["rejected"]["alpaca"]] == [
        f"{mine}:61",
        f"{mine}:62",
    ]
    with pytest.raises(CoalmError, match=r"mine\.jsonl:61: `output` is empty"):
        build(config.model_copy(update={"strict": True, "output_dir": str(tmp_path / "strict")}))


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(CoalmError, match=f"{tmp_path}: no "):
        open_source("alpaca", tmp_path, {})
    with pytest.raises(CoalmError, match=r"nosuch\.json: no such file"):
        open_source("alpaca", tmp_path / "nosuch.json", {})
