"""Reads 100,000 damaged answers with every reader: they raise their own error or none.

    python benchmarks/fuzz_readers.py [--answers 100000] [--seed 0]

Any other exception stops the run and shows the answer. BFCL's own decoder reads them too, in its
worker. The last lines print how many answers each reader accepted and refused, and its answers per
second.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coalm_oumi.evaluation.bfcl.client import BfclWorker
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.formats.calls import CallError
from tests.evaluation.test_styles import READERS, RIGHT
from tests.support.damage import damaged


def main() -> None:
    """Reads them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    answers = []
    for _ in range(options.answers):
        text = random_.choice(RIGHT)
        for _ in range(random_.randint(1, 4)):
            text = damaged(text, RIGHT, random_)
        answers.append(text)
    print(f"{len(set(answers))} different answers of {len(answers)}")
    for name, read in READERS.items():
        taken = 0
        start = time.perf_counter()
        for text in answers:
            try:
                read(text)
                taken += 1
            except CallError:
                continue
            except Exception:
                print(f"{name} stumbled over {text!r}")
                raise
        show(name, taken, len(answers), time.perf_counter() - start)
    for version in (V3, V4):
        with BfclWorker(version) as worker:
            start = time.perf_counter()
            read = worker.read("bracket", answers)
            taken = sum(calls is not None for calls in read)
            show(f"BFCL {version.name}", taken, len(answers), time.perf_counter() - start)


def show(name: str, taken: int, count: int, seconds: float) -> None:
    print(f"{name:<20}{taken:>8} taken{count - taken:>8} refused{count / seconds:>10,.0f} /s")


if __name__ == "__main__":
    main()
