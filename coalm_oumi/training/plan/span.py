"""A range, for what is not known as a single number."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """From `low` to `high`."""

    low: float
    high: float

    def __mul__(self, factor: float) -> "Span":
        """Scales both ends."""
        return Span(self.low * factor, self.high * factor)

    def __or__(self, other: "Span") -> "Span":
        """Takes the larger of each end: the time of two things that run concurrently."""
        return Span(max(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        """Writes whole numbers from 10 on, and one decimal below."""
        low, high = (f"{n:,.0f}" if n >= 10 else f"{n:.1f}" for n in (self.low, self.high))
        return low if low == high else f"{low} to {high}"
