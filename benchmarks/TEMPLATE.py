"""Times NAME beside PEER, both in this run: `python benchmarks/NAME.py`.

Copy this file. State in this docstring what is measured, on which input, and what the ratio means.
Both sides do the same work on the same input, and each is warmed up once before it is timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Times a piece of work, after one round that is not counted."""
    work()
    times: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    """Prints the median and spread of both sides, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sides = {"ours": lambda: sum(range(100_000)), "peer": lambda: sum(list(range(100_000)))}
    medians: dict[str, float] = {}
    for name, work in sides.items():
        times = seconds(work, options.rounds)
        medians[name] = statistics.median(times)
        print(f"{name}: {medians[name]:.4f} s (from {min(times):.4f} to {max(times):.4f})")
    print(f"ratio: {medians['peer'] / medians['ours']:.2f}x")


if __name__ == "__main__":
    main()
