import importlib.util
import json
from pathlib import Path

import pytest

from coalm_oumi.core.function import Function
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra import dialogue as cra
from coalm_oumi.data.cra.dialogue import ApiStep, CraDialogue, CraTurn
from coalm_oumi.data.sources import Rejected, hammer, read, snips, toolace
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts
from tests.conftest import REPO

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> str:
    history = (GOLDEN / "cra_history.txt").read_text().strip()
    return (GOLDEN / f"{name}.txt").read_text().replace("{history}", history).strip()


def written(sample: Sample | Rejected) -> str:
    assert isinstance(sample, Sample), str(sample)
    return f"{sample.instruction}\n=== input\n{sample.input}\n=== output\n{sample.output}"


def test_figure_4_snips(tmp_path: Path):
    pieces = [
        ("Book a table at a ", None), ("restaurant", "restaurant_type"), (" in ", None),
        ("Portugal", "country"), (" with ", None), ("parking", "facility"), (" for ", None),
        ("me and bonnie", "party_size_description"), (" ", None), ("in 19 minutes", "timeRange"),
    ]  # fmt: skip
    data = [{"text": t, "entity": e} if e else {"text": t} for t, e in pieces]
    (tmp_path / "train_BookRestaurant_full.json").write_text(
        json.dumps({"BookRestaurant": [{"data": data}]})
    )
    (sample,) = read(snips.Snips(tmp_path))
    assert written(sample) == golden("snips")


def test_figure_5_hammer(tmp_path: Path):
    tool = {
        "name": "WoDdNSe7e7K5",
        "description": "Fetches weather updates for a given city using the RapidAPI Weather API.",
        "parameters": {
            "LzZsvxUC": {
                "description": "The name of the city for which to retrieve weather information.",
                "type": "str",
                "default": "London",
            }
        },
    }
    record = {
        "query": "What are the current weather conditions in Sydney?",
        "tools": json.dumps([tool]),
        "answers": json.dumps([{"name": "WoDdNSe7e7K5", "arguments": {"LzZsvxUC": "Sydney"}}]),
    }
    file = tmp_path / "xlam.json"
    file.write_text(json.dumps([record]))
    (sample,) = read(hammer.Hammer(file, hammer.HammerOptions(copies=1, masking=0)))
    assert written(sample) == golden("hammer")


def test_figures_6_and_7_cra():
    festival = {"events": [{"name": "Jazz Festival", "date": "2023-10-07"}]}
    bought = {
        "status": "success",
        "message": "You have successfully purchased 2 tickets for the Jazz Festival.",
    }
    dialogue = CraDialogue(
        dialogue_id="1",
        functions=[
            Function("BuyEventTickets", "", ("event_name", "number_of_seats", "date", "city_of_event")),
            Function("FindEvents", "", ("category", "city_of_event"), {"date": "dontcare"}),
        ],
        turns=[
            CraTurn(
                user="I'm looking for events happening in New York this weekend.",
                thought="The user wants to find events in a specific location and timeframe. I'll "
                "need to call the FindEvents API with the appropriate category and city.",
                api=ApiStep(
                    FunctionCall("FindEvents", {"category": "all", "city_of_event": "New York"}),
                    json.dumps(festival),
                    "I have the event details now. I should summarize the events for the user.",
                ),
                system="This weekend in New York, you can attend the Jazz Festival.",
            ),
            CraTurn(
                user="Yes, can you tell me more about the Jazz Festival?",
                thought="I need to provide more details about the Jazz Festival. I don't need an "
                "API call for that.",
                api=None,
                system="It starts at 11 AM. Would you like to know how to get tickets?",
            ),
            CraTurn(
                user="Yes, please tell me how to get tickets for the Jazz Festival.",
                thought="The user is interested in purchasing tickets. I need to call the "
                "BuyEventTickets API for the Jazz Festival.",
                api=ApiStep(
                    FunctionCall(
                        "BuyEventTickets",
                        {
                            "event_name": "Jazz Festival",
                            "number_of_seats": 2,
                            "date": "2023-10-07",
                            "city_of_event": "New York",
                        },
                    ),
                    json.dumps(bought),
                    "The tickets were successfully purchased. I need to confirm this with the user.",
                ),
                system="You have successfully purchased 2 tickets for the Jazz Festival in Central "
                "Park! Enjoy the music!",
            ),
        ],
    )  # fmt: skip
    samples = list(cra.samples(dialogue))
    assert [sample.output.partition(":")[0] for sample in samples] == [
        "Action", "System", "System", "Action", "System",
    ]  # fmt: skip
    assert written(samples[3]) == golden("cra_action")
    assert written(samples[4]) == golden("cra_response")


def test_toolace_with_history(tmp_path: Path):
    tool = {
        "name": "Market Trends API",
        "description": "Gets trends.",
        "parameters": {
            "type": "dict",
            "properties": {"trend_type": {"type": "string"}, "country": {"type": "string"}},
            "required": ["trend_type"],
        },
    }
    record = {
        "system": f"You compose functions:\n{json.dumps([tool])}\nOnly calls, please [as said].",
        "conversations": [
            {"from": "user", "value": "How do the markets look?"},
            {
                "from": "assistant",
                "value": '[Market Trends API(trend_type="MARKET_INDEXES", country="us")]',
            },
            {
                "from": "tool",
                "value": '[{"name": "Market Trends API", "results": {"S&P 500": "up"}}]',
            },
            {"from": "assistant", "value": "The S&P 500 is up."},
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps([record]))
    first, second = read(toolace.ToolAce(tmp_path))
    assert isinstance(first, Sample)
    assert "HISTORY" not in first.instruction
    assert first.input == "User: How do the markets look?"
    assert written(second) == golden("toolace")


def test_an_unknown_template():
    with pytest.raises(
        prompts.PromptError, match=r"prompts/nosuch\.jinja does not exist; .* snips"
    ):
        prompts.render("nosuch")


def test_a_missing_field_is_an_error():
    with pytest.raises(prompts.PromptError, match=r"query\.jinja: 'query' is undefined"):
        prompts.render("query")


def test_the_fingerprint_covers_every_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one", "two"):
        (tmp_path / f"{name}.jinja").write_text(name)
    monkeypatch.setattr(prompts, "resource_dir", lambda _: tmp_path)
    monkeypatch.setattr(prompts, "names", lambda: ["one", "two"])
    before = prompts.fingerprint()
    (tmp_path / "two.jinja").write_text("2")
    assert prompts.fingerprint() != before


def test_the_page_of_samples_is_fresh():
    spec = importlib.util.spec_from_file_location("samples", REPO / ".ci/samples.py")
    assert spec and spec.loader
    samples = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(samples)
    page = (REPO / "docs/mixture_samples.md").read_text(encoding="utf-8")
    assert page == samples.page(), "run python .ci/samples.py --write"
