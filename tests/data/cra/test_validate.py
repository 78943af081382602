import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.core.function import Function
from coalm_oumi.data.cra import sgd, transcript
from coalm_oumi.data.cra.annotation import annotated_turns
from coalm_oumi.data.cra.evidence import Evidence, gather
from coalm_oumi.data.cra.rates import Agreement, Rate
from coalm_oumi.data.cra.validate import DIMENSION_OF, validate
from tests.conftest import REPO

SAMPLES = REPO / "coalm_oumi/data/samples"

CATALOGUE = {
    "BookTable": [
        (
            Function(
                "BookTable",
                "Book a table",
                ("restaurant", "time", "seats"),
                {"date": "2019-03-01", "serves_alcohol": "dontcare", "price": "moderate"},
            ),
            {
                "seats": ("1", "2", "3", "4"),
                "serves_alcohol": ("True", "False"),
                "price": ("cheap", "moderate"),
            },
        )
    ]
}
DIALOGUE = """\
User: A table at P.f. Chang's for two of us on the 5th, please.
Thought: I need the time.
System: When would you like to come?

User: Half past 6 in the evening.
Thought1: I can book.
API Name: {name}
API Input: {arguments}
API Result: {{"status": "ok"}}
Thought2: It worked.
System: Done."""
GOOD = {"restaurant": "P.f. Chang's", "time": "18:30", "seats": "2", "date": "2019-03-05"}


def faults(name: str = "BookTable", **changes) -> list[tuple[str, str]]:
    arguments = {k: v for k, v in (GOOD | changes).items() if v != "absent"}
    text = DIALOGUE.format(name=name, arguments=json.dumps(arguments))
    findings = validate(text, CATALOGUE)
    assert all(finding.turn == 2 for finding in findings)
    return [(finding.kind, text[finding.start : finding.end]) for finding in findings]


def test_a_good_dialogue_has_no_fault():
    assert faults() == []
    assert faults(seats=2, date="March 5th", price="moderate") == []


@pytest.mark.parametrize(
    ("changes", "kind", "span"),
    [
        ({"name": "BookRoom"}, "undefined_function", "BookRoom"),
        ({"colour": "blue"}, "undefined_argument", "blue"),
        ({"seats": ["2"]}, "argument_type", "seats"),
        ({"seats": "two"}, "argument_type", "two"),
        ({"seats": True}, "argument_type", "True"),
        ({"serves_alcohol": "yes"}, "argument_type", "yes"),
        ({"date": None}, "argument_type", "date"),
        ({"seats": "12"}, "argument_value", "12"),
        ({"price": "dear"}, "argument_value", "dear"),
        ({"seats": "3"}, "hallucination", "3"),
        ({"time": "19:30"}, "hallucination", "19:30"),
        ({"date": "2019-03-06"}, "hallucination", "2019-03-06"),
        ({"restaurant": "Nola"}, "hallucination", "Nola"),
        ({"price": "cheap"}, "hallucination", "cheap"),
        ({"serves_alcohol": "True"}, "hallucination", "True"),
    ],
)
def test_each_kind_of_fault_and_its_place(changes: dict, kind: str, span: str):
    if kind == "argument_type" and span == "True":
        span = "seats"  # JSON writes `true`
    assert faults(**changes) == [(kind, span)]


def test_a_missing_argument():
    ((kind, span),) = faults(time="absent")
    assert kind == "missing_argument"
    assert span.startswith("{") and span.endswith("}")


def test_what_comes_later_supports_nothing():
    text = DIALOGUE.format(name="BookTable", arguments=json.dumps(GOOD | {"restaurant": "Nola"}))
    text += "\n\nUser: Nola it is.\nThought: Fine.\nSystem: Nola."
    assert [finding.kind for finding in validate(text, CATALOGUE)] == ["hallucination"]
    # A thought is the model's own.
    text = text.replace("I need the time.", "I need the time for Nola.")
    assert [finding.kind for finding in validate(text, CATALOGUE)] == ["hallucination"]


def test_a_break_of_the_format_says_where():
    (finding,) = validate(DIALOGUE.format(name="BookTable", arguments="?!"), CATALOGUE)
    assert (finding.kind, finding.turn) == ("format", 2)
    assert finding.end - finding.start == 2
    assert set(DIMENSION_OF.values()) == {
        "format", "undefined_function", "argument_type", "hallucination",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("18:30", "half past 6 in the evening"),
        ("18:30", "at 6:30 pm"),
        ("18:30", "6:30"),
        ("6:30 pm", "18:30 sharp"),
        ("17:45", "quarter to six"),
        ("12:00", "at noon"),
        ("20:00", "around 8"),
        ("2019-03-08", "on March 8th"),
        ("2019-03-08", "the 8th of March, 2019"),
        ("2019-03-08", "3/8"),
        ("2019-03-08", "next Friday"),
        ("2019-03-08", "tomorrow"),
        ("March 8", "2019-03-08"),
        ("3", "three people"),
        (3, "3 tickets"),
        ("25", "twenty five"),
        ("1250", "$1,250 in all"),
        ("Los Angeles", "a flight to LAX"),
        ("New York City", "I live in NYC"),
        ("AMC Brentwood 14", "at AMC Brentwood"),
        ("Italian", "some pizza"),
        ("Concerts", "a concert"),
        ("Café Olé", "the cafe ole"),
        ("earphones", "ear phones"),
        (["Don", "Sherri"], "Add Don and Sherri"),
    ],
)
def test_what_supports_a_value(value, text: str):
    assert Evidence.of(text).supports(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("18:30", "half past 7 in the evening"),
        ("18:30", "6:30 am"),
        ("06:30", "6:30 pm"),
        ("2019-03-08", "on March 9th"),
        ("2019-03-08", "the 8th of April"),
        ("2019-03-08", "next Monday"),
        ("2018-03-08", "2019-03-08"),
        ("3", "13 people"),
        ("3", "at 18:03"),
        ("12 Mill Road", "18 Mill Road"),
        ("12:00", "this afternoon"),
        ("18:30", "9" * 5000 + " past 5"),
        ("San Jose", "San Francisco"),
        ("Money", "Monday"),
        ("French", "some pizza"),
        (["Don", "Sherri"], "Add Don"),
    ],
)
def test_what_does_not(value, text: str):
    assert not Evidence.of(text).supports(value)


@given(st.text() | st.integers() | st.lists(st.text()), st.lists(st.text(), max_size=3))
def test_any_value_and_text(value, texts: list[str]):
    assert isinstance(gather(texts).supports(value), bool)
    assert gather([*texts, str(value)]).supports(str(value))


@given(st.text(alphabet="User:Thogt12API NameIputRslSyem \n{}'\",x0"))
def test_any_transcript(text: str):
    for finding in validate(text, CATALOGUE):
        assert 0 <= finding.start <= finding.end <= len(text)


def annotated(folder: Path):
    services = sgd.read_services(folder)
    for _, record in sgd.records(folder):
        name, used = sgd.identify(record, services)
        turns = annotated_turns(record, services)
        yield name, transcript.write(turns), sgd.catalogue(services, used, "all")


def test_the_packages_own_transcripts_are_clean():
    services = sgd.read_services(SAMPLES / "sgd")
    used = {
        name: services
        for _, record in sgd.records(SAMPLES / "sgd")
        if isinstance(record, dict)
        for name, services in [(record["dialogue_id"], record["services"])]
    }
    found = {
        name: [finding.message for finding in validate(
            text, sgd.catalogue(services, used[name], "all"))]
        for name, text in transcript.read(SAMPLES / "cra/transcripts.jsonl").items()
    }  # fmt: skip
    assert {name: messages for name, messages in found.items() if messages} == {}


def test_sgds_own_calls_raise_hardly_an_alarm(shared: Path):
    """The annotation is right, so every finding is a false alarm; the dev split was never looked at
    when the rules were made."""
    for split, allowed in (("dev", 0.02), ("train", 0.07)):
        dialogues = list(annotated(shared / "sgd" / split))
        alarms = [
            finding for _, text, catalogue in dialogues for finding in validate(text, catalogue)
        ]
        assert {finding.kind for finding in alarms} <= {"hallucination"}
        assert len(alarms) <= allowed * len(dialogues)


def test_wilsons_interval():
    # Table I of Newcombe (1998), Statistics in Medicine 17, method 3.
    for count, total, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                    (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]:  # fmt: skip
        assert Rate(count, total).interval() == pytest.approx((low, high), abs=1e-4)


def test_agreement_of_two_raters():
    first = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    agreement = Agreement.of(first, second)
    assert agreement.kappa == pytest.approx(0.4)  # the usual textbook example
    assert (agreement.accuracy, agreement.precision, agreement.recall) == pytest.approx(
        (0.7, 0.8, 2 / 3)
    )
    assert Agreement.of([False], [False]).kappa is None
