"""What a source says of a record that it could not turn into samples."""

from dataclasses import dataclass

from coalm_oumi.errors import CoalmError


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


class RecordError(CoalmError):
    """A raw record that is not what its source should hold. The reader makes it a `Rejected`."""
