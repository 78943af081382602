"""Rates with their uncertainty, and agreement of two raters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its counts.

    Attributes:
        count: The number of items found.
        total: The number of all items.
    """

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share; 0 if there are no items."""
        return self.count / self.total if self.total else 0.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the Wilson score interval of the share (Wilson, 1927)."""
        if not self.total:
            return 0.0, 1.0
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        n, p = self.total, self.value
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two raters on faults.

    Attributes:
        both: Faults that both found.
        only_first: Faults that only the first found.
        only_second: Faults that only the second found.
        neither: Items in which neither found a fault.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> "Agreement":
        """Compares two raters' verdicts on the same items, True for a fault."""
        pairs = list(zip(first, second, strict=True))
        return cls(
            both=pairs.count((True, True)),
            only_first=pairs.count((True, False)),
            only_second=pairs.count((False, True)),
            neither=pairs.count((False, False)),
        )

    @property
    def total(self) -> int:
        """The number of items that both rated."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def accuracy(self) -> float:
        """The share of equal verdicts."""
        return (self.both + self.neither) / self.total if self.total else 0.0

    @property
    def precision(self) -> float | None:
        """The share of the first rater's faults that the second confirms; None without any."""
        found = self.both + self.only_first
        return self.both / found if found else None

    @property
    def recall(self) -> float | None:
        """The share of the second rater's faults that the first finds; None without any."""
        there = self.both + self.only_second
        return self.both / there if there else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (Cohen, 1960); None if chance alone explains everything."""
        n = self.total
        if not n:
            return None
        first, second = self.both + self.only_first, self.both + self.only_second
        chance = (first * second + (n - first) * (n - second)) / (n * n)
        return None if chance == 1 else (self.accuracy - chance) / (1 - chance)
