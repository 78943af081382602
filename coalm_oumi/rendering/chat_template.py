"""Pins the date that chat templates write.

Llama 3.2, Llama 3.3 and gpt-oss write today's date into the system prompt. Without a pinned date,
a model that is trained on one day and asked on another gets a prompt that it never saw, and tokens
that were cached yesterday are wrong today.
"""

import datetime
import re
from typing import Any

DATE = datetime.date(2024, 7, 26)
"""The date of every prompt: the one that Llama 3.1's published template always writes."""

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


def pin_template_date(tokenizer: Any) -> None:
    """Pins the date in a tokenizer's chat template.

    The trainer saves the tokenizer beside the model, and evaluations in this process pin the date
    too, so training and evaluation write the same date.
    """
    templates: str | dict[str, str] | None = tokenizer.chat_template
    if isinstance(templates, str):
        tokenizer.chat_template = pin_date(templates)
    elif isinstance(templates, dict):  # such as Cohere's: a template each for chat, tools, RAG
        tokenizer.chat_template = {name: pin_date(text) for name, text in templates.items()}
