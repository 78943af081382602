"""Judging answers to BFCL V3: ours in parallel beside the official `bfcl evaluate`, in one run.

    python benchmarks/score_bfcl.py [--seed 0]

Both sides judge the same 4,441 answers, a third right and the rest damaged, from the start of their
process to the last verdict, and are taken at their best of three. The last lines print the ratio,
and on how many samples the verdicts differ, which is none.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.bfcl import environment, run, scores
from coalm_oumi.evaluation.bfcl.client import Worker
from tests.damage import damaged, right_answer

RUNS = 3
MODEL = run.OFFICIAL_MODELS["bfcl"]


def main() -> None:
    """Measures both sides and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    random_ = random.Random(parser.parse_args().seed)
    style = styles.by_name("bfcl")
    with Worker() as worker:
        entries = [e for category in scores.GROUPS["all"] for e in worker.questions(category)]
    answers = []
    for entry in entries:
        right = right_answer(entry, style.form)
        if entry.is_multi_turn or random_.random() < 0.33:
            answers.append(right)
        else:
            answers.append(damaged(right, ["[f(x=1)]", "no"], random_))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run.write_results(root, style, entries, answers)
        judged = []
        ours = best(lambda: judged.append(run.judge(style, entries, answers)))
        official = best(lambda: evaluate(root))
        wrong: Counter[str] = Counter()
        for file in (root / "score" / MODEL).glob("*.json"):
            wrong.update(json.loads(line)["id"] for line in file.read_text().splitlines()[1:])
    differing = (wrong - failed(judged[-1])) + (failed(judged[-1]) - wrong)
    print(f"{len(entries)} answers, {wrong.total()} wrong, {os.cpu_count()} cores")
    print(f"bfcl evaluate  {official:6.2f} s")
    print(f"coalm-oumi     {ours:6.2f} s")
    print(f"official / ours {official / ours:.2f}; verdicts that differ: {differing.total()}")


def failed(judged: list[run.Judged]) -> Counter[str]:
    return Counter(sample.entry.id for sample in judged if not sample.verdict.valid)


def best(side: Callable[[], object]) -> float:
    """Returns the seconds of the fastest run."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        side()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def evaluate(root: Path) -> None:
    subprocess.run(
        [environment.python().with_name("bfcl"), "evaluate", "--model", MODEL.replace("_", "/")],
        env=environment.variables(root),
        check=True,
        capture_output=True,
    )


if __name__ == "__main__":
    main()
