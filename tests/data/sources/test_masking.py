import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources import hammer, read
from coalm_oumi.data.sources.masking import CallRecord, mask
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall

XLAM = resource_dir("samples") / "xlam/xlam_function_calling.json"
RECORDS = json.loads(XLAM.read_text())

names = st.text("abcdefgh_", min_size=1, max_size=8)
scalars = st.integers() | st.booleans() | st.text(max_size=6) | st.floats(-1e6, 1e6)
parameters = st.dictionaries(
    names,
    st.fixed_dictionaries({"description": st.text(max_size=12)}, optional={"default": scalars}),
)


@st.composite
def records(draw):
    """Tools, and calls of them whose arguments repeat defaults at times."""
    tools = [
        {"name": name, "description": f"does {name}", "parameters": draw(parameters)}
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    ]
    answers = []
    for tool in draw(st.lists(st.sampled_from(tools), max_size=4)):
        chosen = (
            draw(st.sets(st.sampled_from(sorted(tool["parameters"])))) if tool["parameters"] else []
        )
        answers.append(
            FunctionCall(
                tool["name"],
                {
                    name: tool["parameters"][name]["default"]
                    if "default" in tool["parameters"][name] and draw(st.booleans())
                    else draw(scalars)
                    for name in sorted(chosen)
                },
            )
        )
    return tools, answers


def masked(tools, answers, seed: int = 0, query: str = "q") -> CallRecord:
    return mask(CallRecord(query, tools, answers), random.Random(seed))


@given(records(), st.integers(0, 99))
def test_every_name_changes_and_calls_keep_their_meaning(record, seed: int):
    tools, answers = record
    result = masked(tools, answers, seed)
    offered = {tool["name"]: tool for tool in result.tools}
    assert not offered.keys() & {tool["name"] for tool in tools}
    masked_of = {tool["description"].removeprefix("does "): tool for tool in result.tools}
    for tool in tools:
        described = masked_of[tool["name"]]["parameters"]
        assert not described.keys() & tool["parameters"].keys()
        assert len(described) == len(tool["parameters"])
    originals = {tool["name"]: tool["parameters"] for tool in tools}
    for call, original in zip(result.answers, answers, strict=True):
        described = masked_of[original.name]["parameters"]
        assert offered[call.name] is masked_of[original.name]
        names = dict(zip(originals[original.name], described, strict=True))
        assert list(call.arguments) == [names[name] for name in original.arguments]
        for name, old in original.arguments.items():
            new = call.arguments[names[name]]
            assert type(new) is type(old)
            if new != old:
                assert originals[original.name][name]["default"] == old
                assert described[names[name]]["default"] == new


def test_a_default_that_the_answer_repeats_changes_everywhere():
    tool = {
        "name": "forecast",
        "description": "d",
        "parameters": {
            "days": {
                "description": "How many, 3 by default (30 at most).",
                "type": "int",
                "default": 3,
            },
            "metric": {"description": "Units.", "type": "bool", "default": True},
            "city": {"description": "City.", "type": "str", "default": "Oslo"},
        },
    }
    call = FunctionCall("forecast", {"days": 3, "metric": True, "city": "Rome"})
    result = masked([tool], [call], query="Rome for 3 days, not 13")
    new, *others = result.answers[0].arguments.values()
    assert new != 3 and others == [True, "Rome"]
    assert result.query == f"Rome for {new} days, not 13"
    (offered,) = result.tools
    days, *_ = offered["parameters"].values()
    assert (days["default"], days["description"]) == (
        new,
        f"How many, {new} by default (30 at most).",
    )


def record(defaults, values):
    described = {
        name: {"description": "d", "type": "x"}
        | ({"default": defaults[name]} if name in defaults else {})
        for name in values
    }
    return {"name": "f", "description": "d", "parameters": described}, FunctionCall("f", values)


@pytest.mark.parametrize(
    ("defaults", "values", "query"),
    [
        ({"city": "London"}, {"city": "London", "venue": "London"}, "London and London"),
        ({"page": 1, "limit": 1}, {"page": 1, "limit": 1}, "page 1, limit 1"),
        ({"page": 1}, {"page": 1, "note": "1"}, "page 1, note 1"),
        ({"limit": 10}, {"limit": 10, "q": "top 10 hits"}, "top 10 hits"),
        ({"style": "York"}, {"style": "York", "city": "New York"}, "York style in New York"),
        ({"hours": 3}, {"hours": 3, "time": "3:30"}, "3 hours from 3:30"),
        ({"hours": 3}, {"hours": 3, "amount": 3000}, "3 hours for 3,000"),
        ({"days": 3}, {"days": 3}, "the forecast for three days"),
        ({"days": 3}, {"days": 3}, "3 days, not 3.5"),
    ],
)
def test_a_default_stays_where_the_query_would_contradict(defaults, values, query: str):
    tool, call = record(defaults, values)
    result = masked([tool], [call], query=query)
    assert result.query == query
    assert list(result.answers[0].arguments.values()) == list(call.arguments.values())
    (offered,) = result.tools
    assert list(offered["parameters"].values()) == list(tool["parameters"].values())


@given(st.integers(0, 200))
def test_a_new_default_is_not_the_next_old_one(seed: int):
    tool, call = record({"days": 3, "page": 5}, {"days": 3, "page": 5})
    result = masked([tool], [call], seed, "3 days, page 5")
    days, page = result.answers[0].arguments.values()
    assert result.query == f"{days} days, page {page}"
    assert len({3, 5, days, page}) == 4


def test_two_thirds_are_masked_and_every_copy_differs():
    samples = list(read(hammer.Hammer(XLAM)))
    assert len(samples) == 3 * len(RECORDS)
    originals = {tool["name"] for record in RECORDS for tool in json.loads(record["tools"])}

    def is_masked(sample: object) -> bool:
        assert isinstance(sample, Sample)
        return not any(f'"name": "{name}"' in sample.instruction for name in originals)

    share = sum(map(is_masked, samples)) / len(samples)
    assert 0.6 < share < 0.73
    assert samples == list(read(hammer.Hammer(XLAM)))
    assert samples != list(read(hammer.Hammer(XLAM, hammer.HammerOptions(seed=1))))
    assert all(
        not is_masked(sample)
        for sample in read(hammer.Hammer(XLAM, hammer.HammerOptions(masking=0, copies=1)))
    )
    masked_copies = [s for s in samples if isinstance(s, Sample) and is_masked(s)]
    assert len({s.instruction for s in masked_copies}) == len(masked_copies)


def test_irrelevance_stays_an_empty_list():
    empty = sum(record["answers"] == "[]" for record in RECORDS)
    outputs = [s.output for s in read(hammer.Hammer(XLAM)) if isinstance(s, Sample)]
    assert outputs.count("[]") == 3 * empty > 0
    for output in outputs:
        assert calls.to_json(calls.parse_json(output)) == output


def test_a_tool_that_is_listed_twice_counts_once(tmp_path: Path):
    tool = {"name": "f", "description": "d", "parameters": {}}
    record = {"query": "q", "tools": json.dumps([tool, tool]), "answers": "[]"}
    file = tmp_path / "x.json"
    file.write_text(json.dumps([record]))
    for sample in read(hammer.Hammer(file)):
        assert isinstance(sample, Sample)
        tools = sample.instruction.split("[BEGIN OF AVAILABLE TOOLS]\n")[1].split("\n[END")[0]
        assert len(json.loads(tools)) == 1


def test_hammers_published_samples_have_our_form(shared: Path):
    """Hammer's own ten masked samples: the same prompt parts, the same alphabet of names."""
    for record in json.loads((shared / "xlam/masking_sft_data_example.json").read_text()):
        tools = record["instruction"].split("[BEGIN OF AVAILABLE TOOLS]\n")[1].split("\n[END")[0]
        ours = hammer.instruction(json.loads(tools))
        theirs = record["instruction"].split("[BEGIN OF QUERY]")[0]
        assert "".join(ours.split()) == "".join(theirs.split())
        calls.parse_json(record["output"])
