"""Normalises MultiWOZ's names, times and values."""

import re
from collections.abc import Mapping, Sequence

DOMAINS: Sequence[str] = ("restaurant", "hotel", "attraction", "train", "taxi")
"""The domains of the test split. Hospital and police occur in training only."""

VENUES: Sequence[str] = ("restaurant", "hotel", "attraction")
"""The domains that offer a place."""

NO_VALUE = frozenset({"", "none", "not mentioned", "not given", "unknown", "null"})
"""Texts that mean no value, in annotations and in models' answers."""

DONT_CARE = frozenset(
    {
        "any", "anything", "dontcare", "dont care", "don't care", "do n't care", "do not care",
        "doesnt care", "doesn't care", "does not care", "doesn't matter", "no preference",
    }
)  # fmt: skip
"""Texts that mean any value."""

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_TIMES = {"noon": "12:00", "midday": "12:00", "lunch": "12:00", "morning": "08:00",
          "afternoon": "13:00", "midnight": "00:00"}  # fmt: skip
_TIME = re.compile(r"(\d{1,2})(?:[:.h]? ?(\d{2}))?\s*([ap])?\.?\s*(?:m\b\.?)?")
_BEFORE_TIME = re.compile(r"^(?:after|before|around|about|at|by|from)\s+")
_TIME_SLOTS = frozenset({"time", "book time", "leaveat", "arriveby"})
_COUNT_SLOTS = frozenset({"people", "stay", "stars", "book people", "book stay"})
_NAME_SLOTS = frozenset({"name", "departure", "destination"})

_SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "area": {"center": "centre", "city centre": "centre", "city center": "centre",
             "centre of town": "centre", "town centre": "centre"},
    "pricerange": {"moderately priced": "moderate", "inexpensive": "cheap",
                   "high end": "expensive"},
    "type": {"guest house": "guesthouse", "guest houses": "guesthouse", "hotels": "hotel",
             "bed and breakfast": "guesthouse", "swimming pool": "swimmingpool",
             "night club": "nightclub", "concert hall": "concerthall",
             "mutliple sports": "multiple sports", "theater": "theatre", "boating": "boat"},
    "internet": {"free": "yes", "true": "yes", "false": "no"},
    "parking": {"free": "yes", "true": "yes", "false": "no"},
    "food": {"asian": "asian oriental", "portugese": "portuguese"},
}  # fmt: skip


def clean_time(text: str) -> str:
    """Writes a time of day as `HH:MM`, and leaves other text as it is.

    `5 pm`, `17.00`, `after 17:00` and `1700` are 17:00; `9:30` is 09:30.
    """
    text = _BEFORE_TIME.sub("", " ".join(text.lower().split()))
    if text in _TIMES:
        return _TIMES[text]
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3] and hour <= 12:
        hour = hour % 12 + (12 if match[3] == "p" else 0)
    return f"{hour:02d}:{minute:02d}" if hour <= 24 and minute < 60 else text


def clean_name(text: str) -> str:
    """Brings the name of a place to the form it is compared in.

    Case, punctuation and optional words (`the` before, `restaurant` or `hotel` after) do not
    distinguish places.
    """
    text = text.lower().replace("&", " and ").replace("\u2019", "'").replace(" '", "'")
    text = text.replace("'", "")
    text = " ".join(re.sub(r"\W", " ", text).split())
    text = text.replace("saint ", "st ").replace("guest house", "guesthouse")
    text = text.replace("b and b", "bed and breakfast").replace("center", "centre")
    text = text.removeprefix("the ").removesuffix(" restaurant").removesuffix(" hotel")
    return text.strip()


def is_given(value: str) -> bool:
    """Returns True if a value constrains anything: neither nothing nor `dontcare`."""
    return clean(value) not in NO_VALUE | DONT_CARE


def clean(value: object) -> str:
    """Writes any value as text in lower case with white space folded."""
    return " ".join(str(value).lower().split())


def canonical(slot: str, value: object) -> str:
    """Brings a slot's value to the form in which two states are compared.

    Args:
        slot: The slot without its domain, in lower case: `area`, `leaveat`, `book people`.
        value: The value as annotated or as a model wrote it.

    Returns:
        The canonical value; empty for none, `dontcare` for any.
    """
    text = clean(value)
    if text in NO_VALUE:
        return ""
    if text in DONT_CARE:
        return "dontcare"
    if slot in _TIME_SLOTS:
        return clean_time(text)
    if slot in _COUNT_SLOTS:
        first = text.split()[0]
        return _NUMBERS.get(first, first)
    if slot in _NAME_SLOTS:
        return clean_name(text)
    return _SYNONYMS.get(slot, {}).get(text, text)
