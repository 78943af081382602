"""Words in messages to people."""


def counted(number: int, noun: str) -> str:
    """Writes a number with its noun.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
