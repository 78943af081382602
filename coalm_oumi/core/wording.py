"""Words in messages to people."""

import re

# C0 and C1 except tab and line break, the line separators, marks of text direction, and halves of
# surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, noun: str) -> str:
    """Writes a number with its noun.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def one_line(text: object, limit: int | None = None) -> str:
    r"""Writes a text on one line, and an error without a message as its type.

    >>> one_line("a\n  b"), one_line(ValueError())
    ('a b', 'ValueError')

    Args:
        text: The text, or an error.
        limit: The most characters to keep.
    """
    return (" ".join(str(text).split()) or type(text).__name__)[:limit]


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable(text: object) -> str:
    r"""Escapes control characters: data and names must not steer a terminal or break a page.

    >>> printable("a\x1b[31mb\r\nc")
    'a\\x1b[31mb\nc'
    """
    plain = str(text).replace("\r\n", "\n")
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), plain)
