"""Every field of the raw files that people bring, with wrong values: a reason, and no traceback.

A record that gives no sample is rejected with its place and its reason, and the records around it
are read. Where a file is read as a whole, there is one error that names it.
"""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra import sgd
from coalm_oumi.data.sources import open_source, read
from coalm_oumi.data.sources.reader import Rejected
from coalm_oumi.evaluation.api_bank import data as api_bank
from coalm_oumi.evaluation.multiwoz import data as multiwoz
from coalm_oumi.evaluation.multiwoz.database import Database
from tests.conftest import REPO
from tests.support import multiwoz_data
from tests.support.wrong_values import wrong

SAMPLES = REPO / "coalm_oumi/data/samples"


def loaded(file: str) -> Any:
    return json.loads((SAMPLES / file).read_text())


def called(dialogue: Any) -> Any:
    """A dialogue cut to the two turns with its first call, whose frames hold all kinds of fields."""
    turns = dialogue["turns"]
    (number, *_) = [n for n, turn in enumerate(turns) if "service_call" in turn["frames"][0]]
    return {**dialogue, "turns": turns[number - 1 : number + 1]}


XLAM = loaded("xlam/xlam_function_calling.json")[0]
RECORDS: dict[str, tuple[str, Any]] = {
    "hammer": ("records.json", XLAM),
    "hammer, unpacked": (
        "records.json",
        {**XLAM, "tools": json.loads(XLAM["tools"]), "answers": json.loads(XLAM["answers"])},
    ),
    "toolace": ("data.json", loaded("toolace/data.json")[0]),
    "sgd": ("dialogues_001.json", called(loaded("sgd/dialogues_001.json")[0])),
    "alpaca": ("mine.json", {"instruction": "a", "input": "b", "output": "c", "domain": "la"}),
    "alpaca, messages": (
        "mine.json",
        {
            "messages": [
                {"role": "user", "content": "Hi."},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {
                "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_the_records_of_every_source(name: str, tmp_path: Path):
    source = name.partition(",")[0]
    file, record = RECORDS[name]
    if source == "sgd":
        (tmp_path / "schema.json").write_text((SAMPLES / "sgd/schema.json").read_text())
    for place, value, changed in wrong(record):
        what = f"{'.'.join(map(str, place))} = {value!r}"
        (tmp_path / file).write_text(json.dumps([changed, record]))
        opened = open_source(source, tmp_path, {})
        if isinstance(value, float) and not math.isfinite(value):
            with pytest.raises(CoalmError, match=rf"{file}: not valid JSON: element 0: \w+ is not"):
                list(read(opened))
            continue
        found = list(read(opened))
        for one in found:
            if isinstance(one, Rejected):
                assert one.where == f"{tmp_path / file}[0]", what
                assert one.reason and "\n" not in one.reason, what
                assert not any(word in one.reason for word in ("Error(", "object has no")), what
        assert any(isinstance(one, Sample) for one in found), what


def test_snips_utterances(tmp_path: Path):
    content = loaded("snips/train_GetWeather_full.json")
    content["GetWeather"] = content["GetWeather"][:1]
    accepted = names_the_file(
        tmp_path, "train_GetWeather_full.json", content,
        lambda file: list(read(open_source("snips", file.parent, {}))),
    )  # fmt: skip
    assert not accepted["GetWeather = 'soon'"]
    assert not accepted["GetWeather.0.data.0.text = nan"]
    assert not accepted["typo = 1"]


def names_the_file(
    folder: Path, name: str, content: Any, read: Callable[[Path], object]
) -> dict[str, bool]:
    """Reads a file with every wrong value; returns which were accepted."""
    accepted: dict[str, bool] = {}
    for place, value, changed in wrong(content):
        what = f"{'.'.join(map(str, place))} = {value!r}"
        (folder / name).write_text(json.dumps(changed))
        try:
            read(folder / name)
        except CoalmError as error:
            assert name in str(error) and "\n" not in str(error), what
            accepted[what] = False
        except Exception as error:
            raise AssertionError(what) from error
        else:
            accepted[what] = True
    return accepted


def test_the_schema_of_sgd(tmp_path: Path):
    schema = loaded("sgd/schema.json")[:1]
    accepted = names_the_file(
        tmp_path, "schema.json", schema, lambda f: sgd.read_services(f.parent)
    )
    assert not accepted["0.intents.0.required_slots = 'soon'"]
    assert not accepted["0.slots.0.possible_values = 'soon'"]


def test_questions_of_api_bank(tmp_path: Path):
    question = {
        "query": [{"role": "user", "content": "Hi."}],
        "tools": [{"name": "f", "description": "d", "parameters": {"a": {"type": "str"}}}],
        "answers": [{"name": "f", "arguments": {"a": "x"}}],
    }
    accepted = names_the_file(tmp_path, "apibank_l1.json", [question], api_bank.read)
    assert not accepted["0.query.0.content = True"]
    assert not accepted[f"0.tools.0.name = {10**30}"]


def test_dialogues_of_multiwoz(tmp_path: Path):
    table = copy.deepcopy(multiwoz_data.TABLE)
    table["log"] = table["log"][2:4]
    accepted = names_the_file(
        tmp_path, "dialogues.json", {"TABLE.json": table}, lambda f: multiwoz.read(f, version="2.4")
    )
    assert not accepted["TABLE.json.log.0.text = True"]
    assert not accepted["TABLE.json.goal.restaurant.reqt = 'soon'"]
    assert not accepted["TABLE.json.goal.restaurant.info = []"]


def test_databases_of_multiwoz(tmp_path: Path):
    for domain in ("taxi", "restaurant"):
        multiwoz_data.write_databases(tmp_path)
        records = multiwoz_data.DATABASES[domain][:1]
        accepted = names_the_file(
            tmp_path, f"{domain}_db.json", records, lambda file: Database(file.parent)
        )
        assert not accepted["0 = 'soon'"] and not accepted["0 = {}"]
        assert not accepted[f"0.{next(iter(records[0]))} = nan"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_no_number_that_json_cannot_write(number: str, tmp_path: Path):
    """In JSON text within a record, as xLAM and ToolACE have it."""
    tools = '[{"name": "f", "description": "d", "parameters": {"a": {"type": "float"}}}]'
    xlam = {
        "query": "q",
        "tools": tools,
        "answers": f'[{{"name": "f", "arguments": {{"a": {number}}}}}]',
    }
    (tmp_path / "xlam.json").write_text(json.dumps([xlam]))
    (rejected,) = read(open_source("hammer", tmp_path, {}))
    assert isinstance(rejected, Rejected) and number in rejected.reason
    turns = [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]
    described = tools.replace('"float"', f'"float", "default": {number}')
    (tmp_path / "data.json").write_text(json.dumps([{"system": described, "conversations": turns}]))
    (rejected,) = read(open_source("toolace", tmp_path, {}))
    assert isinstance(rejected, Rejected) and number in rejected.reason
    barred = [turns[0], {"from": "assistant", "value": f'(f|{{"a": {number}}})'}]
    (tmp_path / "data.json").write_text(json.dumps([{"system": tools, "conversations": barred}]))
    (rejected,) = read(open_source("toolace", tmp_path, {}))
    assert isinstance(rejected, Rejected) and "turn 1" in rejected.reason
