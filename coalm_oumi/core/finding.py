"""One line of a check, as `coalm doctor` and `coalm plan` print it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        ok: False if this must be fixed before recipes run.
        text: What was found.
        fix: What to do about it, if anything.
    """

    ok: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        """Writes the line as it is printed."""
        fix = f" -> {self.fix}" if self.fix else ""
        return f"{'ok  ' if self.ok else 'BAD '} {self.text}{fix}"
