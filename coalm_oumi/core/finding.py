"""One line of a check, as `coalm doctor` and `coalm plan` print it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        ok: False where something must be fixed before recipes run.
        text: What was found.
        fix: What to do about it, if anything.
    """

    ok: bool
    text: str
    fix: str = ""
