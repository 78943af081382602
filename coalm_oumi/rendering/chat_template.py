"""The date that chat templates write, pinned.

Llama 3.2, Llama 3.3 and gpt-oss put today's date into the system prompt. A model that is trained
on one day and asked on another then reads a prompt that it never saw, and tokens that were cached
yesterday are wrong today.
"""

import datetime
import re

DATE = datetime.date(2024, 7, 26)
"""The date of every prompt: the one that Llama 3.1's published template writes always."""

_NOW = re.compile(r"strftime_now\(\s*(?P<quote>[\"'])(?P<format>.*?)(?P=quote)\s*\)")


def pin_date(template: str) -> str:
    """Replaces each call of today's date in a chat template by `DATE`.

    Args:
        template: The Jinja text. It calls `strftime_now` with a format, as Transformers offers it.

    Example:
        >>> pin_date('Today is {{ strftime_now("%d %b %Y") }}.')
        'Today is {{ "26 Jul 2024" }}.'
    """
    return _NOW.sub(lambda call: f'"{DATE.strftime(call["format"])}"', template)
