import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.data.cra import transcript
from coalm_oumi.data.cra.transcript import TranscriptError, parse, parse_all, parse_fields
from coalm_oumi.formats.calls import FunctionCall

TABLE_6 = """\
User: Add Don and Sherri to my "Meditate to Sounds of Nature" playlist.
Thought1: I'll need the playlist's name
and the artists.
API Name: AddToPlaylist
API Input: 'playlist_name': 'Meditate to Sounds of Nature', 'artists': ['Don', 'Sherri']
API Result: {'status': 'success', 'added': 2}
Thought2: I need to inform the user.
System: Done.

User: Thank you.
Thought: I don't need an API call for that.
System: You're welcome!
"""


def test_table_6():
    first, second = parse(TABLE_6)
    assert first.user.startswith("Add Don")
    assert first.thought == "I'll need the playlist's name\nand the artists."
    assert first.api is not None
    assert first.api.call == FunctionCall(
        "AddToPlaylist",
        {"playlist_name": "Meditate to Sounds of Nature", "artists": ["Don", "Sherri"]},
    )
    assert first.api.observation == '{"status": "success", "added": 2}'
    assert second.api is None
    assert second.system == "You're welcome!"


def test_a_result_in_plain_words_is_kept():
    text = TABLE_6.replace("{'status': 'success', 'added': 2}", "Two were added.")
    api = parse(text)[0].api
    assert api is not None
    assert api.observation == "Two were added."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Thought2: I need to inform the user.\n", "", "turn 1: `Thought2:` is missing"),
        ("System: Done.", "System:", "turn 1: `System:` is missing or empty"),
        ("Thought: I", "Note: I", "turn 2: `Thought:` is missing"),
        ("Thought1: I", "Note: I", "turn 1: `Thought1:` is missing"),
        ("API Name: AddToPlaylist", "API Name: None", "turn 1: API Name: expected one function"),
        ("API Name: AddToPlaylist", "API Name: A, B", "turn 1: API Name: expected one function"),
        ("API Name: AddToPlaylist", "API Name: A\nAPI Name: B", "occurs twice"),
        ("'artists': ['Don', 'Sherri']", "'artists': ['Don", "turn 1: API Input"),
        ("'artists': ['Don', 'Sherri']", "'artists':", "turn 1: API Input"),
        ("'artists': ['Don', 'Sherri']", "'playlist_name': 'B'", "turn 1: API Input"),
        ("'playlist_name': 'Meditate", "my playlist, 'playlist_name': 'Meditate", "API Input"),
        ("User: Add", "Hello!\nUser: Add", "text before the first field"),
        ("User: Add", "System: Add", "`System:` before the first `User:`"),
    ],
)
def test_breaks_of_the_format(old: str, new: str, message: str):
    with pytest.raises(TranscriptError, match=message):
        parse(TABLE_6.replace(old, new, 1))


def test_fields_out_of_order():
    text = "User: a\nSystem: b\nThought: c"
    with pytest.raises(TranscriptError, match="in order"):
        parse(text)


def decorated(mark: str) -> str:
    return "\n".join(mark.format(*line.split(":", 1)) if ":" in line else line
                     for line in TABLE_6.split("\n"))  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        decorated("**{}:** {}"),
        decorated("**{}**: {}"),
        decorated("**{}: {}**"),
        decorated("- {}: {}"),
        decorated("1. {}: {}"),
        decorated("  2) **{}:**{}"),
        decorated("### {}: {}"),
        f"```\n{TABLE_6}```",
        f"Here is the dialogue:\n\n---\n**Turn 1**\n{TABLE_6}\n---\n",
        f"### Dialogue 1:\n{TABLE_6}",
        TABLE_6.replace("\n\n", "\n\n---\n\n### Turn 2\n"),
        TABLE_6.replace("Thought1", "Thought 1").replace("Thought2", "Thought"),
        TABLE_6.replace("Thought:", "Thought1:"),
        TABLE_6.replace("AddToPlaylist", "`AddToPlaylist()`"),
        TABLE_6.replace("API Name", "API").replace("API Input", "API Input Arguments"),
        TABLE_6.replace("'playlist_name': 'Meditate to Sounds of Nature'",
                        "playlist_name: Meditate to Sounds of Nature"),
        TABLE_6.replace("'playlist_name': 'Meditate to Sounds of Nature', ",
                        "playlist_name='Meditate to Sounds of Nature', ").replace(
                        "'artists': [", "artists=["),
        TABLE_6.replace("'playlist_name'", "({'playlist_name'").replace("Sherri']", "Sherri']})"),
        TABLE_6.replace("'playlist_name'", "```json\n{'playlist_name'").replace(
                        "Sherri']", "Sherri']}\n```"),
        TABLE_6.replace("\n", "\r\n"),
    ],
)  # fmt: skip
def test_what_models_write_around_the_format(text: str):
    plain = parse(TABLE_6)
    read = parse(text)
    assert [turn.api for turn in read] == [turn.api for turn in plain]
    assert [turn.user for turn in read] == [turn.user for turn in plain]
    assert [turn.system for turn in read] == [turn.system for turn in plain]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{}", {}),
        ("None", {}),
        ("'songs': Calm River, 'count': 2", {"songs": "Calm River", "count": 2}),
        ("city: Palo Alto, CA, time: 6:30 pm", {"city": "Palo Alto, CA", "time": "6:30 pm"}),
        ("phone: 0650, price: 1.50", {"phone": "0650", "price": "1.50"}),
        ("{name: P.f. Chang's, date: 2019-03-01}", {"name": "P.f. Chang's", "date": "2019-03-01"}),
        ("- city: Bath\n- day: Sunday", {"city": "Bath", "day": "Sunday"}),
        ("FindBus(to='Bath')", {"to": "Bath"}),
        ("(to='Bath', seats=2)", {"to": "Bath", "seats": 2}),
        ("to='Bath', seats=2", {"to": "Bath", "seats": 2}),
        ("to=Bath, seats=2", {"to": "Bath", "seats": 2}),
    ],
)
def test_api_input_in_the_fields_many_forms(written: str, arguments: dict):
    text = TABLE_6.replace(TABLE_6.split("API Input: ")[1].split("\n")[0], written)
    api = parse(text)[0].api
    assert api is not None
    assert api.call.arguments == arguments


def test_several_dialogues():
    text = f"Dialogue 1:\n{TABLE_6}\n**Dialogue 2:**\n{TABLE_6}"
    assert parse_all(text) == [parse(TABLE_6)] * 2
    with pytest.raises(TranscriptError, match="holds 2 dialogues"):
        parse(text)


def test_fields_say_where_they_stand():
    text = decorated("**{}:** {}")
    for block in parse_fields(text):
        for field in block:
            assert text[field.start : field.end] == field.text


def test_an_error_says_where():
    with pytest.raises(TranscriptError) as caught:
        parse(TABLE_6.replace("'artists': ['Don', 'Sherri']", "'artists': ['Don"))
    assert caught.value.turn == 1
    text = TABLE_6.replace("'artists': ['Don', 'Sherri']", "'artists': ['Don")
    assert text[caught.value.start : caught.value.end].endswith("['Don")


FIELDS = st.sampled_from(
    ["User: a\n", "Thought: b\n", "Thought1: c\n", "API Name: f\n", "API Input: {'x': 1}\n",
     "API Result: {}\n", "Thought2: d\n", "System: e\n", "\n", "**User:** ", "- System: x\n",
     "Dialogue 2\n", "---\n", "```\n", "API Input: a: b, c: 'd'\n", "**Thought 1: y**\n"]
)  # fmt: skip
BLOCKS = st.sampled_from(
    ["User: a\nThought: b\nSystem: e", "User: a\nThought1: c\nAPI Name: f\nAPI Input: {'x': 1}\n"
     "API Result: {}\nThought2: d\nSystem: e"]
)  # fmt: skip
NOISE = st.text(max_size=6) | st.sampled_from(["**", "\n---", "\n```", "'", "\n\n", "\r", "\v"])


@given(
    st.text()
    | st.lists(FIELDS | st.text(max_size=5), max_size=12).map("".join)
    | st.lists(BLOCKS | NOISE | FIELDS, max_size=6).map("\n".join)
    | st.tuples(NOISE, NOISE, NOISE, NOISE).map(
        lambda n: (
            f"{n[0]}User: a{n[1]}\nThought1: c\nAPI Name: f\nAPI Input: x: {n[2]}\n"
            f"API Result: r{n[3]}\nThought2: d\nSystem: e{n[0]}"
        )
    )
)
def test_any_text_is_read_or_refused_and_what_is_read_can_be_written(text: str):
    with contextlib.suppress(TranscriptError):
        for dialogue in parse_all(text):
            assert dialogue
            assert parse(transcript.write(dialogue)) == dialogue


@pytest.mark.parametrize("filler", ["\n", ", ", " \n", "> ", "[", "`", "f("])
def test_text_that_loops_is_read_in_linear_time(filler: str):
    text = (
        f"User: hi\nThought1: t\nAPI Name: f\nAPI Input: k: a{filler * 30_000}x\n"
        "API Result: r\nThought2: t\nSystem: s"
    )
    start = time.perf_counter()
    with contextlib.suppress(TranscriptError):
        transcript.parse_all(text)
    assert time.perf_counter() - start < 2, "a minute and more where it is quadratic"
