import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.calls import FunctionCall
from coalm_oumi.cra.transcript import TranscriptError, parse

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
        ("Thought: I", "Thought1: I", "turn 2: `Thought:` is missing"),
        ("API Name: AddToPlaylist", "API Name: A\nAPI Name: B", "occurs twice"),
        ("'artists': ['Don', 'Sherri']", "'artists': Don Sherri", "turn 1: API Input"),
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


FIELDS = st.sampled_from(
    ["User: a\n", "Thought: b\n", "Thought1: c\n", "API Name: f\n", "API Input: {'x': 1}\n",
     "API Result: {}\n", "Thought2: d\n", "System: e\n", "\n"]
)  # fmt: skip


@given(st.text() | st.lists(FIELDS | st.text(max_size=5), max_size=12).map("".join))
def test_any_text_is_read_or_refused(text: str):
    with contextlib.suppress(TranscriptError):
        assert parse(text)
