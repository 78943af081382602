"""Variants of xLAM's records: parsed lists, other schemas, repeats, two tools of one name."""

import json
from pathlib import Path

import pytest

from coalm_oumi.core.sample import Sample, deduplicated
from coalm_oumi.data.mixture.build import build
from coalm_oumi.data.mixture.config import BuildConfig, SourceConfig
from coalm_oumi.data.mixture.store import read_all
from coalm_oumi.data.sources import hammer, open_source, read

FLAT = {
    "name": "get_fares",
    "description": "Fares to a city.",
    "parameters": {
        "city": {"description": "Where to.", "type": "str"},
        "seats": {"description": "How many.", "type": "int, optional"},
    },
}
SCHEMA = {
    "name": "get_fares",
    "description": "Fares to a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"description": "Where to.", "type": "str"},
            "seats": {"description": "How many.", "type": "int"},
        },
        "required": ["city"],
    },
}
CALL = {"name": "get_fares", "arguments": {"city": "Oslo", "seats": 2}}
AS_TEXT = {"name": "get_fares", "arguments": '{"city": "Oslo", "seats": 2}'}


def rendered(tmp_path: Path, *records: object, **options: object) -> list[Sample]:
    file = tmp_path / "records.json"
    file.write_text(json.dumps(records), encoding="utf-8-sig")
    items = list(read(open_source("hammer", file, {"copies": 1, "masking": 0, **options})))
    assert all(isinstance(item, Sample) for item in items), items
    return [item for item in items if isinstance(item, Sample)]


def tools_of(sample: Sample) -> object:
    text = sample.instruction.split("[BEGIN OF AVAILABLE TOOLS]\n")[1].split("\n[END")[0]
    return json.loads(text)


@pytest.mark.parametrize(
    ("tools", "answers"),
    [
        (json.dumps([FLAT]), json.dumps([CALL])),
        ([FLAT], [CALL]),
        ([SCHEMA], [CALL]),
        ([{"type": "function", "function": SCHEMA}], [{"type": "function", "function": AS_TEXT}]),
        ([FLAT], [AS_TEXT]),
        ([FLAT], CALL),
    ],
)
def test_every_shape_of_a_record_gives_the_same_sample(tmp_path: Path, tools, answers):
    (sample,) = rendered(tmp_path, {"query": "Fares?", "tools": tools, "answers": answers})
    assert tools_of(sample) == [FLAT]
    assert json.loads(sample.output) == [CALL]


def test_a_json_schema_is_masked_like_xlams_form(tmp_path: Path):
    record = {"query": "Fares?", "tools": [SCHEMA], "answers": [CALL]}
    (sample,) = rendered(tmp_path, record, masking=1)
    assert "get_fares" not in sample.instruction
    assert "seats" not in sample.instruction and "properties" not in sample.instruction


def test_of_two_tools_with_one_name_the_one_that_is_called_stays(tmp_path: Path):
    def tool(*parameters: str) -> dict[str, object]:
        described = {name: {"description": name, "type": "str"} for name in parameters}
        return {"name": "search", "description": "Searches.", "parameters": described}

    call = {"name": "search", "arguments": {"author": "Woolf"}}
    for tools in (
        [tool("title"), tool("author")],
        [tool("author"), tool("title")],
        [tool("author", "title"), tool("author")],  # the call lacks what the first one requires
    ):
        record = {"query": "q", "tools": tools, "answers": [call]}
        (sample,) = rendered(tmp_path, record)
        assert tools_of(sample) == [tool("author")]


RECORDS = [
    {"id": n, "query": f"Fares for {n % 30}?", "tools": [FLAT], "answers": [CALL]}
    for n in range(60)
]


def test_a_repeated_record_gives_the_same_masked_copies(tmp_path: Path):
    samples = rendered(tmp_path, *RECORDS, copies=3, masking=0.5)
    kept = deduplicated(samples)
    assert (len(samples), len(kept)) == (180, 90)
    assert len({sample.input for sample in kept}) == 30


def test_no_repeat_leaks_into_the_validation_set(tmp_path: Path):
    paths = []
    for name, records in (("one", RECORDS[:30]), ("two", RECORDS[30:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
        paths.append(str(tmp_path / f"{name}.json"))
    built = build(
        BuildConfig(
            output_dir=str(tmp_path / "out"),
            sources={"hammer": SourceConfig(path=paths)},
            validation_fraction=0.3,
        )
    )
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["duplicates"] == {"hammer": 90}
    assert sum(counts["hammer"] for counts in manifest["samples"].values()) == 90
    inputs = {}
    for split in ("train", "validation"):
        inputs[split] = set(read_all(built / f"{split}-00000.parquet")["input"])
    assert inputs["train"] and inputs["validation"]
    assert not inputs["train"] & inputs["validation"]


def test_the_seed_still_changes_the_masking(tmp_path: Path):
    one, other = (rendered(tmp_path, RECORDS[0], masking=1, seed=seed) for seed in (0, 1))
    assert one[0].instruction != other[0].instruction
    assert hammer.HammerOptions().copies == 3
