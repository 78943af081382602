"""What a source says of a record that it could not turn into samples."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """A raw record that gave no sample.

    Attributes:
        where: The file and the record's place in it.
        reason: What is wrong with it.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        """Writes both on one line."""
        return f"{self.where}: {self.reason}"
