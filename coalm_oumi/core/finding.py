"""One line of a check, as `coalm doctor` and `coalm plan` print it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        ok: False where something must be mended before recipes run.
        text: What was found.
        mend: What to do about it, if anything.
    """

    ok: bool
    text: str
    mend: str = ""
