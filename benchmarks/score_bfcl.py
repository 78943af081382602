"""Our parallel judging of BFCL's answers beside the official `bfcl evaluate`, in one run.

    python benchmarks/score_bfcl.py [--version v3 | v4] [--seed 0]

Both sides judge the same answers to V3, or to V4 without its vector memory, whose questions need an
encoder. All conversations are right. Of the other answers a third are right and the rest damaged.
Each side is measured from the start of its process to the last verdict. The best of three runs
counts, separately for wall time and processor time, which a busy machine changes little. The last
line prints the ratios, and the number of samples whose verdicts differ.
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
from coalm_oumi.evaluation.bfcl import environment, run, verdicts
from coalm_oumi.evaluation.bfcl.client import BfclWorker
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from tests.support.damage import damaged, right_answer

RUNS = 3
VERSIONS = {version.name: version for version in (V3, V4)}
MODEL = run.OFFICIAL_MODELS["bfcl"]


def main() -> None:
    """Measures both sides and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--version", choices=VERSIONS, default="v3")
    options = parser.parse_args()
    random_, version = random.Random(options.seed), VERSIONS[options.version]
    style = styles.STYLES["bfcl"]
    categories = [name for name in version.groups["all"] if name != "memory_vector"]
    with BfclWorker(version) as worker:
        entries = [e for category in categories for e in worker.questions(category)]
    answers = []
    for entry in entries:
        right = right_answer(entry, style.form)
        if entry.is_conversation or random_.random() < 0.33:
            answers.append(right)
        else:
            answers.append(damaged(right, ["[f(x=1)]", "no"], random_))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run.write_results(root, version, style, list(zip(entries, answers, strict=True)))
        judged = []
        ours = best(lambda: judged.append(verdicts.judge(version, style, entries, answers)))
        official = best(lambda: evaluate(version, root, categories))
        wrong: Counter[str] = Counter()
        for file in (root / "score" / MODEL).rglob("*.json"):
            with file.open(encoding="utf-8") as lines:
                next(lines)
                wrong.update(json.loads(line)["id"] for line in lines)
    differing = (wrong - failed(judged[-1])) + (failed(judged[-1]) - wrong)
    print(f"{len(entries)} answers, {wrong.total()} wrong, {os.cpu_count()} cores")
    for name, (wall, processor) in (("bfcl evaluate", official), ("coalm-oumi", ours)):
        print(f"{name:<15}{wall:6.2f} s wall{processor:8.2f} s processor")
    wall, processor = (theirs / own for theirs, own in zip(official, ours, strict=True))
    print(
        f"official / ours: {wall:.2f} wall, {processor:.2f} processor; "
        f"verdicts that differ: {differing.total()}"
    )


def failed(judged: list[verdicts.Judged]) -> Counter[str]:
    return Counter(sample.entry.id for sample in judged if not sample.verdict.valid)


def best(side: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall and the processor seconds of the fastest run, child processes included."""
    measured = []
    for _ in range(RUNS):
        wall, processor = time.perf_counter(), processor_seconds()
        side()
        measured.append((time.perf_counter() - wall, processor_seconds() - processor))
    return min(measured)


def processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def evaluate(version: Version, root: Path, categories: list[str]) -> None:
    chosen = [argument for name in categories for argument in ("--test-category", name)]
    command = environment.python(version).with_name("bfcl")
    subprocess.run(
        [command, "evaluate", "--model", MODEL.replace("_", "/"), *chosen],
        env=environment.variables(root),
        check=True,
        capture_output=True,
    )


if __name__ == "__main__":
    main()
