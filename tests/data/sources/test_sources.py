import json
import re
from collections import Counter
from pathlib import Path

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import LeftOut, Sample
from coalm_oumi.data.cra import sgd as cra_sgd
from coalm_oumi.data.cra.annotation import annotated_turns
from coalm_oumi.data.cra.evidence import Evidence
from coalm_oumi.data.sources import (
    Reader,
    Record,
    Rejected,
    find_source,
    hammer,
    open_source,
    sgd,
    snips,
    source_names,
    toolace,
)
from coalm_oumi.data.sources import read as every
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.formats import calls

SAMPLES = resource_dir("samples")
SHIPPED = {
    "snips": (SAMPLES / "snips", {}),
    "hammer": (SAMPLES / "xlam", {}),
    "toolace": (SAMPLES / "toolace", {}),
    "sgd": (SAMPLES / "sgd", {"transcripts": SAMPLES / "cra/transcripts.jsonl"}),
}


def split(reader: Reader) -> tuple[list[Sample], list[Rejected]]:
    items = list(every(reader))
    return (
        [item for item in items if isinstance(item, Sample)],
        [item for item in items if isinstance(item, Rejected)],
    )


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_samples_are_read(name: str):
    path, options = SHIPPED[name]
    samples, rejected = split(open_source(name, path, options))
    assert len({sample.dialogue_id for sample in samples}) >= 40
    assert {sample.source for sample in samples} == {name}
    assert {sample.domain for sample in samples} == {find_source(name).domain}
    assert all(sample.output == sample.output.strip() != "" for sample in samples)
    assert len(rejected) == (1 if name == "toolace" else 0)


# --- SNIPS ---


def snips_file(folder: Path, *records: object, intent: str = "RateBook") -> Path:
    return write(folder / f"train_{intent}_full.json", {intent: list(records)})


def test_snips_white_space_and_repeated_slots(tmp_path: Path):
    data = [
        {"text": " rate "},
        {"text": " Emma ", "entity": "object_name"},
        {"text": "and\n"},
        {"text": "Persuasion", "entity": "object_name"},
        {"text": "  "},
        {"text": "five", "entity": "rating_value"},
    ]
    (sample,), _ = split(snips.Snips(snips_file(tmp_path, {"data": data})))
    assert sample.input == "User: rate Emma and Persuasion five"
    assert json.loads(sample.output.removeprefix("System: "))["slot_values"] == {
        "object_name": ["Emma", "Persuasion"],
        "rating_value": "five",
    }


def test_snips_surrogate_bytes(tmp_path: Path):
    file = tmp_path / "train_PlayMusic_full.json"
    raw = b'{"PlayMusic": [{"data": [{"text": "Pop \xed\xa0\xbc\xed\xbd\x95", "entity": "playlist"}]}]}'
    file.write_bytes(raw)
    (sample,), _ = split(snips.Snips(file))
    assert sample.input == "User: Pop 🍕"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "`data` is not a list"),
        ({"data": [{"entity": "x"}]}, "`data` is not a list"),
        ({"data": [{"text": " "}]}, "the utterance is empty"),
        ({"data": [{"text": "x", "entity": "nosuch"}]}, "slot `nosuch` is not one of RateBook's"),
    ],
)
def test_bad_snips_records_are_rejected(tmp_path: Path, record: object, reason: str):
    good = {"data": [{"text": "rate this"}]}
    samples, (rejected,) = split(snips.Snips(snips_file(tmp_path, good, record)))
    assert len(samples) == 1
    assert rejected.where.endswith("RateBook[1]")
    assert reason in rejected.reason


def test_snips_intents_shorten_the_prompt(tmp_path: Path):
    snips_file(tmp_path, {"data": [{"text": "rate this"}]})
    snips_file(tmp_path, {"data": [{"text": "play this"}]}, intent="PlayMusic")
    (sample,), _ = split(snips.Snips(tmp_path, snips.SnipsOptions(intents=["PlayMusic"])))
    assert "1 domains - PlayMusic." in sample.instruction
    assert "RateBook" not in sample.instruction
    with pytest.raises(CoalmError, match="unknown intent `Fly`"):
        list(every(snips.Snips(tmp_path, snips.SnipsOptions(intents=["Fly"]))))


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "expected an object"), ('{"Fly": []}', "unknown intent"), ('{"RateBook": {}}', "list"),
     ("{", "not valid JSON")],
)  # fmt: skip
def test_malformed_snips_files(tmp_path: Path, content: str, message: str):
    file = tmp_path / "train_RateBook_full.json"
    file.write_text(content)
    with pytest.raises(CoalmError, match=message) as error:
        list(every(snips.Snips(file)))
    assert str(file) in str(error.value)


def test_real_snips(shared: Path):
    samples, rejected = split(snips.Snips(shared / "snips"))
    # 13,784 without 764 that say what the 700 of the standard test set say, and 20 of validate_*.
    assert len(samples) == 13_000
    assert not rejected
    ontology: dict[str, set[str]] = {}
    repeated = 0
    for sample in samples:
        state = json.loads(sample.output.removeprefix("System: "))
        ontology.setdefault(state["domain"], set()).update(state["slot_values"])
        repeated += any(isinstance(value, list) for value in state["slot_values"].values())
        assert "\ufffd" not in sample.input
    assert ontology == {intent: set(slots) for intent, slots in snips.ONTOLOGY.items()}
    assert repeated == 61


# --- Hammer ---


def xlam(query: object = "q", tools: object = "[]", answers: object = "[]") -> dict[str, object]:
    return {"query": query, "tools": tools, "answers": answers}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (xlam(query=" "), "`query` is missing"),
        (xlam(tools=None), "`tools` is missing"),
        (xlam(tools=[3]), "a tool has no `name`"),
        (xlam(tools="[{"), "`tools` is not JSON"),
        (xlam(tools="{}"), "`tools` does not hold a JSON list"),
        (xlam(answers="nope"), "`answers` is not JSON"),
        (xlam(answers="3"), "`answers` does not hold a JSON list of calls"),
        (
            xlam(answers='[{"name": "f", "arguments": {}}]'),
            "does not fit the tools: `f` is not among",
        ),
        ("text", "`query` is missing"),
    ],
)
def test_bad_xlam_records_are_rejected(tmp_path: Path, record: object, reason: str):
    file = write(tmp_path / "xlam.json", [xlam(), record])
    samples, (rejected,) = split(hammer.Hammer(file, hammer.HammerOptions(copies=1)))
    assert [sample.output for sample in samples] == ["[]"]
    assert str(rejected).startswith(f"{file}[1]: ")
    assert reason in rejected.reason


def test_shipped_xlam_covers_the_kinds():
    samples, _ = split(hammer.Hammer(SAMPLES / "xlam"))
    counts = Counter(len(calls.parse_json(sample.output)) for sample in samples)
    assert set(counts) == {0, 1, 2}


# --- ToolACE ---

TOOLS = '[{"name": "f"}]'


def test_toolace_breaks_are_rejected_whole():
    samples, (rejected,) = split(toolace.ToolAce(SAMPLES / "toolace"))
    assert rejected.where.endswith("data.json[17]")
    assert "turn 1: expected `,`" in rejected.reason
    assert not any(sample.dialogue_id == "toolace/17" for sample in samples)


def test_toolace_calls_become_json():
    samples, _ = split(toolace.ToolAce(SAMPLES / "toolace"))
    called = [sample for sample in samples if sample.output.startswith("[")]
    assert len(called) > 30
    for sample in called:
        assert calls.to_json(calls.parse_json(sample.output)) == sample.output


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "`system` is missing"),
        ({"system": "no tools", "conversations": [{}]}, "holds no JSON list of tools"),
        ({"system": "[{", "conversations": [{}]}, "is not JSON"),
        ({"system": "[{}]", "conversations": []}, "`conversations` is missing or empty"),
        ({"system": "[{}]", "conversations": [{}]}, "a tool has no `name`"),
        ({"system": TOOLS, "conversations": [{"from": "bot", "value": "x"}]}, "no known speaker"),
        ({"system": TOOLS, "conversations": [{"from": "assistant", "value": "x"}]}, "first"),
        ({"system": TOOLS, "conversations": [{"from": "user", "value": "x"}]}, "says nothing"),
    ],
)
def test_bad_toolace_records_are_rejected(tmp_path: Path, record: object, reason: str):
    _, (rejected,) = split(toolace.ToolAce(write(tmp_path / "data.json", [record])))
    assert reason in rejected.reason


# --- SGD ---


def listed_functions(sample: Sample) -> list[str]:
    listing = sample.instruction.split("[BEGIN OF AVAILABLE TOOLS]\n")[1].split("\n[END")[0]
    return [line.partition(". ")[2] for line in listing.splitlines()]


def test_sgd_gives_two_samples_an_api_turn(tmp_path: Path):
    services = cra_sgd.read_services(SAMPLES / "sgd")
    dialogues = json.loads((SAMPLES / "sgd/dialogues_001.json").read_text())
    system = [t for d in dialogues for t in d["turns"] if t["speaker"] == "SYSTEM"]
    frames = [f for t in system for f in t["frames"] if "service_call" in f]
    samples, _ = split(sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(signatures="full")))
    assert len(samples) == len(system) + len(frames)
    actions = [sample for sample in samples if sample.output.startswith("Action: ")]
    assert len(actions) == len(frames)
    for sample, frame in zip(actions, frames, strict=True):
        call = calls.parse_python(sample.output.removeprefix("Action: "))
        made = frame["service_call"]
        typed = services[frame["service"]].typed(made["parameters"])
        assert (call.name, call.arguments) == (made["method"], typed)


def test_sgd_function_lists():
    (first, *_), _ = split(sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(functions="dialogue")))
    listing, _ = split(sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(functions="all")))
    action = next(sample for sample in listing if sample.output.startswith("Action"))
    schema = json.loads((SAMPLES / "sgd/schema.json").read_text())
    assert listed_functions(action) == [
        f"{intent['name']}({', '.join(intent['required_slots'])})"
        for service in schema
        for intent in service["intents"]
    ]
    assert first.domain == "cra"
    with pytest.raises(CoalmError, match="functions: input should be 'all' or 'dialogue'"):
        open_source("sgd", SAMPLES / "sgd", {"functions": "some"})


def test_recorded_transcripts_replace_the_templates():
    recorded, _ = split(
        sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(transcripts=SAMPLES / "cra/transcripts.jsonl"))
    )
    templated, _ = split(sgd.Sgd(SAMPLES / "sgd"))
    texts = [
        [s for s in samples if s.dialogue_id == "sgd/sgd/1_00000"]
        for samples in (recorded, templated)
    ]
    assert [s.output for s in texts[0]] == [s.output for s in texts[1]]
    assert [s.input for s in texts[0]] != [s.input for s in texts[1]]


def test_transcripts_of_no_dialogue_are_said(tmp_path: Path):
    file = tmp_path / "cra.jsonl"
    file.write_text(json.dumps({"dialogue_id": "nosuch", "text": "x"}) + "\n")
    samples, (rejected,) = split(sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(transcripts=file)))
    assert samples
    assert "nosuch: no dialogue of this id is in" in str(rejected)


def test_sgd_keeps_the_results_asked_for(shared: Path):
    def observations(limit: int | None) -> list[int]:
        samples, _ = split(sgd.Sgd(shared / "sgd/dev", sgd.SgdOptions(max_results=limit)))
        read = [
            json.loads(line.removeprefix("Observation: "))
            for sample in samples
            if sample.output.startswith("System:")
            for line in sample.input.splitlines()
            if line.startswith("Observation: ")
        ]
        return [len(found["results"] if isinstance(found, dict) else found) for found in read]

    assert max(observations(2)) == 2
    assert max(observations(None)) == 5  # the most that the file has


def test_bad_dialogues_are_rejected(tmp_path: Path):
    write(tmp_path / "schema.json", json.loads((SAMPLES / "sgd/schema.json").read_text()))
    good = json.loads((SAMPLES / "sgd/dialogues_001.json").read_text())[0]
    swapped = {**good, "turns": good["turns"][1:]}
    foreign = {**good, "services": ["Nosuch_1"]}
    write(tmp_path / "dialogues_001.json", [good, {}, foreign, swapped, {**good, "turns": [1, 2]}])
    samples, rejected = split(sgd.Sgd(tmp_path))
    assert samples
    assert [item.where[-3:] for item in rejected] == ["[1]", "[2]", "[3]", "[4]"]
    assert "`Nosuch_1` is not in schema.json" in rejected[1].reason
    assert "do not alternate" in rejected[2].reason


def test_real_sgd_lists_the_functions_of_the_paper(shared: Path):
    services = cra_sgd.read_services(shared / "sgd/train")
    table_6 = cra_sgd.functions(services, [], "all", "required")
    assert len(table_6) == 53
    assert [table_6[0].signature(), table_6[-1].signature()] == [
        "CheckBalance(account_type)", "GetWeather(city)",
    ]  # fmt: skip
    listed = [function.signature() for function in cra_sgd.distinct(table_6)]
    assert len(listed) == len(set(listed)) == 51
    # Both variants of a repeated name are listed, so the model has to choose.
    assert "FindBus(from_location, to_location, leaving_date)" in listed
    assert "FindBus(origin, destination, departure_date)" in listed


@pytest.mark.parametrize("signatures", ["required", "full"])
def test_real_sgd_calls_only_what_its_prompts_list(shared: Path, signatures: str):
    reader = open_source("sgd", shared / "sgd/train", {"signatures": signatures})
    turns = annotated = 0
    for file in (shared / "sgd/train").glob("dialogues_*.json"):
        for dialogue in json.loads(file.read_text()):
            for turn in dialogue["turns"]:
                turns += turn["speaker"] == "SYSTEM"
                annotated += any("service_call" in frame for frame in turn["frames"])
    outputs: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    values: Counter[type] = Counter()
    for record in reader.records():
        assert isinstance(record, Record)
        for sample in reader.samples(record):
            if isinstance(sample, LeftOut):
                left_out[sample.reason] += 1
                continue
            kind, _, output = sample.output.partition(": ")
            outputs[kind] += 1
            if kind == "Action":
                call = calls.parse_python(output)
                values.update(map(type, call.arguments.values()))
                arguments = [
                    {argument.partition("=")[0] for argument in known.split(", ") if argument}
                    for name, _, known in (
                        line.removesuffix(")").partition("(") for line in listed_functions(sample)
                    )
                    if name == call.name
                ]
                assert any(set(call.arguments) <= known for known in arguments), sample.output
    assert outputs["System"] == turns
    if signatures == "full":
        assert outputs["Action"] == annotated
        assert not left_out
    else:
        assert left_out == {
            "action: a booking needs an optional argument that its prompt does not list": 120,
            "action: a search says nothing new without optional arguments that its prompt does "
            "not list": 70,
        }
        assert outputs["Action"] == annotated - 190
        assert outputs["System"] + outputs["Action"] == 6026
    assert values[int] > 300
    assert values[bool] >= 14


def test_thoughts_say_what_was_said_and_agree_with_observations(shared: Path):
    services = cra_sgd.read_services(shared / "sgd/train")
    listed = cra_sgd.distinct(cra_sgd.functions(services, [], "all", "required"))
    thoughts: list[str] = []
    dates = grounded = 0
    for _, record in cra_sgd.records(shared / "sgd/train"):
        heard = ""
        for turn in annotated_turns(record, services, listed=listed, max_results=2):
            heard += f"\n{turn.user}"
            thoughts.append(turn.thought)
            if turn.api is not None:
                thoughts.append(turn.api.thought)
                assert turn.api.call.name in turn.thought
                is_empty = turn.api.observation == "[]"
                says_empty = "Nothing" in turn.api.thought or "no result" in turn.api.thought
                assert is_empty == says_empty, turn.api
                for value in turn.api.call.arguments.values():
                    if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
                        dates += 1
                        _, month, day = map(int, str(value).split("-"))
                        said = Evidence.of(f"{heard}\n{turn.thought}").dates
                        grounded += any(date[1:] == (month, day) for date in said)
                heard += f"\n{turn.thought}\n{turn.api.observation}"
            heard += f"\n{turn.system}"
    assert dates > 500
    assert grounded == dates
    assert len(set(thoughts)) > 0.7 * len(thoughts)  # of 10,000, at least 6,000


def test_decision_samples_are_cut_from_the_users_turn_alone(shared: Path):
    options = sgd.SgdOptions(targets=["decision"])
    samples, _ = split(sgd.Sgd(shared / "sgd/dev", options))
    assert all(sample.input.startswith("User: ") for sample in samples)
    assert not any("\n" in sample.input for sample in samples)
    kinds = Counter(sample.output.split("\n")[1].partition(":")[0] for sample in samples)
    assert set(kinds) == {"Action", "System"}
    assert all(sample.output.startswith("Thought: ") for sample in samples)
    assert not any("Today is" in sample.output for sample in samples)


def test_closing_turns_are_thinned_out():
    whole = sgd.Sgd(SAMPLES / "sgd")
    thinned = sgd.Sgd(SAMPLES / "sgd", sgd.SgdOptions(closings=0))
    left_out = [
        sample
        for record in thinned.records()
        if isinstance(record, Record)
        for sample in thinned.samples(record)
        if isinstance(sample, LeftOut) and "closing" in sample.reason
    ]
    assert len(left_out) > 10
    assert len(split(whole)[0]) - len(split(thinned)[0]) == len(left_out)


@pytest.mark.parametrize("name", source_names())
def test_a_missing_source_names_the_path(tmp_path: Path, name: str):
    with pytest.raises(CoalmError, match=str(tmp_path / "nosuch")):
        list(every(open_source(name, tmp_path / "nosuch", {})))


def test_text_that_is_no_unicode_is_rejected(tmp_path: Path):
    file = tmp_path / "xlam.json"
    file.write_text(
        f'[{json.dumps(xlam())}, {{"query": "\\ud83d", "tools": "[]", "answers": "[]"}}]'
    )
    samples, (rejected,) = split(hammer.Hammer(file, hammer.HammerOptions(copies=1)))
    assert len(samples) == 1
    assert "half of a surrogate pair" in rejected.reason


def test_snips_leaves_out_what_the_validation_set_repeats(tmp_path: Path):
    seen, unseen = {"data": [{"text": "rate  this"}]}, {"data": [{"text": "rate that"}]}
    file = snips_file(tmp_path, seen, unseen)
    write(tmp_path / "validate_RateBook.json", {"RateBook": [{"data": [{"text": "Rate this."}]}]})
    (sample,), rejected = split(snips.Snips(file))
    assert sample.input == "User: rate that"
    assert not rejected
