import pytest

from coalm_oumi.core.wording import counted, printable


def test_one_is_singular():
    assert [counted(n, "record") for n in (0, 1, 2, 1200)] == [
        "0 records", "1 record", "2 records", "1,200 records",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x00\x08\x7f\x9b", "\\x00\\x08\\x7f\\x9b"),
        ("a\rb\r\nc\td", "a\\rb\nc\td"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("Größe 数 👩‍💻", "Größe 数 👩‍💻"),
    ],
)
def test_control_characters_are_escaped_and_text_is_not(text: str, shown: str):
    assert printable(text) == shown
