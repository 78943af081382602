"""Decides if a text supports an argument's value: words, numbers, dates and times, normalised.

`18:30` is supported by "half past 6 in the evening", `2019-03-08` by "the 8th", `3` by "three".
"""

import datetime
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from coalm_oumi.core.jsontext import Json, is_list, is_object
from coalm_oumi.files.jsontext import read_json

SPELLED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)  # fmt: skip
"""The numbers from 0 to 20 as words."""

_NUMBERS = {word: number for number, word in enumerate(SPELLED)} | {
    "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
    "hundred": 100, "single": 1, "alone": 1, "solo": 1, "myself": 1, "only me": 1, "just me": 1,
    "couple": 2, "both": 2, "pair": 2, "double": 2, "twice": 2,
    "dozen": 12,
}  # fmt: skip
_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"


def _with_short_names(names: str, *, first: int) -> dict[str, int]:
    """Numbers names; the first three letters of each stand for it too."""
    numbered: dict[str, int] = {}
    for number, name in enumerate(names.split(), start=first):
        numbered[name] = numbered[name[:3]] = number
    return numbered


_MONTH = _with_short_names(_MONTHS, first=1)
_WEEKDAY = _with_short_names(_DAYS, first=0)
_NAMED_TIMES = {"noon": 720, "midday": 720, "midnight": 0}
_IGNORED = {
    "the", "a", "an", "of", "in", "at", "on", "and", "for", "to", "with", "by", "has", "is", "does",
    "serves", "allowed", "suitable", "open",
}  # fmt: skip

_MONTH_NAME = rf"(?:{'|'.join(sorted(_MONTH, key=len, reverse=True))})\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATES = (
    re.compile(r"\b(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})\b"),
    re.compile(r"\b(?P<m>\d{1,2})/(?P<d>\d{1,2})(?:/(?P<y>\d{4}))?\b"),
    re.compile(r"\b(?P<d>\d{1,2})/(?P<m>\d{1,2})(?:/(?P<y>\d{4}))?\b"),
    re.compile(r"\b(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})\b"),
    re.compile(rf"\b(?P<m>{_MONTH_NAME})\s+(?:the\s+)?(?P<d>{_DAY})\b(?:,?\s+(?P<y>\d{{4}})\b)?"),
    re.compile(rf"\b(?P<d>{_DAY})\s+(?:of\s+)?(?P<m>{_MONTH_NAME})(?:,?\s+(?P<y>\d{{4}})\b)?"),
)
_DAY_OF_MONTH = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b")
_RELATIVE = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|weekend|"
    r"(?:next|this|following|coming)\s+(?:week|month|morning|afternoon|evening|night)|in\s+\w+\s+(?:days?|weeks?)|"
    r"\w+\s+(?:days?|weeks?)\s+from)\b"
)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)")
_HALF = r"(?P<half>a\.?\s?m\b\.?|p\.?\s?m\b\.?)"
_HOUR = rf"(?P<h>\d{{1,2}}|{'|'.join(list(_NUMBERS)[1:13])})"
_CLOCK = re.compile(
    rf"(?<![\w:.]){_HOUR}(?::|h|\.(?=\d\d\s*[ap]\.?m))(?P<m>[0-5]\d)(?!\d)\s*{_HALF}?"
)
_FULL_HOUR = re.compile(rf"\b{_HOUR}\s*(?:{_HALF}|o['\"]?\s?clock)")
_PARTS = re.compile(
    rf"\b(?P<part>half|quarter|\w+)\s+(?P<side>past|to|after|before|til)\s+{_HOUR}\b"
)
_BARE = re.compile(
    rf"\b(?:at|by|around|about|from|until|till|before|after|morning|afternoon|evening|night|time)"
    rf"\s+{_HOUR}\b|\b{_HOUR.replace('<h>', '<h2>')}\s+(?:in\s+the|at\s+night|this|tonight)"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words, numbers, dates and times that texts mention, normalised. `|` joins two.

    Attributes:
        words: The words, folded.
        runs: The texts as runs of words, for phrases.
        numbers: The numbers, in digits or words.
        times: Times of day in minutes; both halves of the day if none is said.
        dates: Dates as year (None if not said), month and day.
        days: Days of the month.
        weekdays: Days of the week, 0 for Monday.
        relative: Whether days are named relative to today, which cannot be resolved here.
    """

    words: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    times: frozenset[int] = frozenset()
    dates: frozenset[tuple[int | None, int, int]] = frozenset()
    days: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    relative: bool = False

    def __or__(self, other: "Evidence") -> "Evidence":
        """Joins what two texts mention."""
        names = [field.name for field in fields(self)]
        return Evidence(**{name: getattr(self, name) | getattr(other, name) for name in names})

    @classmethod
    def of(cls, text: str) -> "Evidence":
        """Reads a text."""
        plain = _folded(text)
        words = _words(text)
        # The parts of a date are not days or numbers by themselves, nor are those of a time.
        dateless = _without(plain, _DATES)
        return cls(
            words=frozenset(words),
            runs=frozenset([f" {' '.join(words)} "]),
            numbers=frozenset(_numbers(_without(dateless, [_CLOCK]))),
            times=frozenset(_times(plain, bare=True)),
            dates=frozenset(_dates(plain)),
            days=frozenset(int(day) for day in _DAY_OF_MONTH.findall(dateless)),
            weekdays=frozenset(_WEEKDAY[word] for word in words if word in _WEEKDAY),
            relative=bool(_RELATIVE.search(plain)),
        )

    def supports(self, value: Json) -> bool:
        """Returns True if the texts support a value, or every part of a list or an object."""
        if is_object(value):
            return all(map(self.supports, value.values()))
        if is_list(value):
            return all(map(self.supports, value))
        if value is None or isinstance(value, bool):
            return True  # no text says these; the argument's name tells their meaning
        text = str(value)
        return (
            self._says(text)
            or self._has_number(text)
            or self._has_time(text)
            or self._has_date(text)
        )

    def mentions(self, word: str) -> bool:
        """Returns True if a word, or another form of it, occurs."""
        return word in self.words or any(_akin(word, other) for other in self.words)

    def supports_flag(self, name: str) -> bool:
        """Returns True if a yes-or-no slot of that name, such as `serves_alcohol`, was a topic."""
        words = [word for word in _words(name.replace("_", " ")) if word not in _IGNORED]
        for word in words:
            if any(map(self._speaks_of, (word, *_synonyms()["flags"].get(word, ())))):
                return True
        return False

    def _says(self, text: str) -> bool:
        words = _words(text)
        if not words:
            return True
        phrase = f" {' '.join(words)} "
        if any(phrase in run for run in self.runs):
            return True
        if all(word[0].isdigit() for word in words) or words[0][0].isdigit():
            return False  # numbers, dates, times and addresses must be said literally
        initials = "".join(word[0] for word in words)
        if len(initials) > 1 and initials in self.words:
            return True
        joined = "".join(words)
        if joined in self.words or any(
            joined in run.replace(" ", "") for run in self.runs if len(joined) > 5
        ):
            return True
        for name, others in _synonyms()["values"].items():
            if f" {name} " in phrase and any(map(self._speaks_of, others)):
                return True
        telling = [word for word in words if word not in _IGNORED and len(word) > 2]
        named = [word for word in telling if not word.isdigit()]
        said = sum(map(self.mentions, named))
        # `AMC Brentwood 14` is what "AMC Brentwood" means, and `Embarcadero Center Cinema` too.
        return bool(named) and said >= len(named) * (0.75 if len(named) > 2 else 1)

    def _speaks_of(self, phrase: str) -> bool:
        if " " in phrase:
            return any(f" {phrase} " in run for run in self.runs)
        return self.mentions(phrase) if len(phrase) > 3 else phrase in self.words

    def _has_number(self, text: str) -> bool:
        numbers = set(_numbers(_folded(text)))
        return bool(numbers) and not _is_calendar(text) and numbers <= self.numbers

    def _has_time(self, text: str) -> bool:
        return bool(self.times & set(_times(_folded(text), bare=False)))

    def _has_date(self, text: str) -> bool:
        for year, month, day in _dates(_folded(text)):
            if self.relative or day in self.days:
                return True
            if any(
                (m, d) == (month, day) and (y is None or year is None or y == year)
                for y, m, d in self.dates
            ):
                return True
            if year is not None and _weekday(year, month, day) in self.weekdays:
                return True
        return False


def gather(texts: Iterable[str]) -> Evidence:
    """Reads several texts."""
    evidence = Evidence()
    for text in texts:
        evidence |= Evidence.of(text)
    return evidence


@cache
def _synonyms() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Returns synonyms for values and flags of SGD's schema: `pizza` for `Italian`."""
    return read_json(Path(__file__).with_name("synonyms.json"))


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold().replace("\u2019", "'")
    return "".join(char for char in plain if not unicodedata.combining(char))


def _words(text: str) -> list[str]:
    """Cuts a text into words; `P.f. Chang's` is `pf changs`."""
    plain = re.sub(r"(?<=\w)['.](?=\w|\s|$)", "", _folded(text))
    return re.findall(r"[^\W_]+", plain)


def _akin(left: str, right: str) -> bool:
    """Returns True if two words have one stem: `concert`, `concerts`; `italian`, `italy`."""
    if left.rstrip("s") == right.rstrip("s"):
        return True
    shorter = min(len(left), len(right))
    same = next((n for n in range(shorter) if left[n] != right[n]), shorter)
    return same >= max(4, shorter - 1) and same >= max(len(left), len(right)) - 4


def _without(plain: str, patterns: Iterable[re.Pattern[str]]) -> str:
    for pattern in patterns:
        plain = pattern.sub(" ", plain)
    return plain


def _numbers(plain: str) -> Iterable[float]:
    for match in _NUMBER.findall(plain):
        digits = match.replace(",", "")
        if len(digits) <= 15:
            yield float(digits)
    words = re.findall(r"[a-z]+", plain)
    for word, following in itertools.pairwise([*words, ""]):
        if word in _NUMBERS:
            number = _NUMBERS[word]
            yield number
            if number >= 20 and 0 < _NUMBERS.get(following, 0) < 10:
                yield number + _NUMBERS[following]


def _times(plain: str, *, bare: bool) -> Iterable[int]:
    for match in _CLOCK.finditer(plain):
        yield from _minutes(match["h"], int(match["m"]), match["half"])
    for match in _FULL_HOUR.finditer(plain):
        yield from _minutes(match["h"], 0, match["half"])
    for match in _PARTS.finditer(plain):
        part = {"half": 30, "quarter": 15}.get(match["part"], _number(match["part"]))
        if part is not None and 0 < part < 60:
            before = match["side"] in ("to", "before", "til")
            for minute in _minutes(match["h"], 0, None):
                yield (minute + (-part if before else part)) % 1440
    for word, minute in _NAMED_TIMES.items():
        if re.search(rf"\b{word}\b", plain):
            yield minute
    if bare:
        for match in _BARE.finditer(plain):
            yield from _minutes(match["h"] or match["h2"], 0, None)


def _minutes(hour: str, minute: int, half: str | None) -> Iterable[int]:
    number = _number(hour)
    if number is None or number > 24:
        return
    if half and number <= 12:
        yield (number % 12 + (12 if half.startswith("p") else 0)) * 60 + minute
    elif number > 12 or hour.startswith("0"):
        yield number % 24 * 60 + minute
    else:
        yield from (number % 12 * 60 + minute, (number % 12 + 12) * 60 + minute)


def _number(word: str) -> int | None:
    if word.isdecimal():
        return int(word) if len(word) <= 2 else None
    return _NUMBERS.get(word)


def _dates(plain: str) -> Iterable[tuple[int | None, int, int]]:
    for pattern in _DATES:
        for match in pattern.finditer(plain):
            month = match["m"].rstrip(".")
            number = int(month) if month.isdecimal() else _MONTH[month]
            day = int(re.sub(r"\D", "", match["d"]))
            if 1 <= number <= 12 and 1 <= day <= 31:
                yield (int(match["y"]) if match["y"] else None, number, day)


def _weekday(year: int, month: int, day: int) -> int | None:
    try:
        return datetime.date(year, month, day).weekday()
    except ValueError:
        return None


def _is_calendar(text: str) -> bool:
    plain = _folded(text)
    return any(pattern.search(plain) for pattern in _DATES) or bool(_CLOCK.search(plain))
