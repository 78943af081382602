"""Build throughput and memory: one process beside several, a small mixture beside a large one.

    python benchmarks/build_mixture.py [--scales 0.02 0.1] [--workers 2] [--rounds 2]

The raw files are made from the records that ship with the package, each copy with a different
number, so that nothing is a duplicate. A scale is their size relative to the published files. At
each scale they are built by one process and by `--workers`, each time by a separate command into an
empty folder; the side that goes first changes with each round. Processor time is the sum over all
processes, which a busy machine changes less than wall time. Memory is the most that the building
process and its workers held for themselves at once (RssAnon). The last lines print ratios of
medians: time of one process over that of several, and memory at the largest scale over that at the
smallest.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coalm_oumi.files.resources import resource_dir

RECORDS = {"snips": 13_784, "xlam": 67_500, "toolace": 11_300, "sgd": 16_142}
"""The numbers of raw records of the published sources."""


def main() -> None:
    """Measures all sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.02, 0.1])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    scales, several = sorted(options.scales), options.workers
    print(f"{'scale':>6}{'samples':>9}{'workers':>9}{'seconds':>9}{'from .. to':>16}"
          f"{'processor':>11}{'samples/s':>11}{'memory':>12}")  # fmt: skip
    seconds: dict[tuple[float, int], float] = {}
    memory: dict[tuple[float, int], float] = {}
    for scale in scales:
        found: dict[int, list[tuple[int, float, float, int]]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as folder:
            make_raw(Path(folder) / "raw", scale)
            for round_ in range(options.rounds):
                for workers in (1, several) if round_ % 2 == 0 else (several, 1):
                    found[workers].append(build(Path(folder), workers))
        for workers in (1, several):
            samples, times, processor, peaks = zip(*found[workers], strict=True)
            middle = seconds[scale, workers] = statistics.median(times)
            memory[scale, workers] = statistics.median(peaks)
            print(f"{scale:>6g}{samples[0]:>9,}{workers:>9}{middle:>9.1f}"
                  f"{f'{min(times):.1f} .. {max(times):.1f}':>16}"
                  f"{statistics.median(processor):>9.1f} s{samples[0] / middle:>11,.0f}"
                  f"{memory[scale, workers]:>8,.0f} MiB")  # fmt: skip
    for scale in scales:
        ratio = seconds[scale, 1] / seconds[scale, several]
        print(f"1 process / {several} processes at {scale:g}, time  {ratio:.2f}")
    for workers in (1, several):
        ratio = memory[scales[-1], workers] / memory[scales[0], workers]
        print(f"scale {scales[-1]:g} / {scales[0]:g}, {workers} workers, memory  {ratio:.2f}")


def build(home: Path, workers: int) -> tuple[int, float, float, int]:
    """Returns the samples, wall and processor seconds, and peak memory in MiB of one build."""
    shutil.rmtree(home / "out", ignore_errors=True)
    recipe = home / "data.yaml"
    sources = {name: {"path": str(home / "raw" / name)} for name in RECORDS}
    sources["hammer"] = sources.pop("xlam")
    recipe.write_text(json.dumps({"output_dir": str(home / "out"), "sources": sources}))
    command = [sys.executable, "-m", "coalm_oumi", "build", "-c", str(recipe)]
    start, before = time.perf_counter(), processor_time()
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"`coalm build` ended with code {process.returncode}")
    counts = json.loads((home / "out/manifest.json").read_text())["samples"]
    samples = sum(sum(split.values()) for split in counts.values())
    return samples, seconds, processor_time() - before, peak // 1024


def processor_time() -> float:
    """Returns the processor seconds of all processes that have ended, workers among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def anonymous(process: int) -> int:
    """Returns what a process and its children hold for themselves, in KiB."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return 0
    own = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")]
    return sum(own) + sum(anonymous(int(child)) for child in children)


def make_raw(folder: Path, scale: float) -> None:
    """Writes raw files of all sources."""
    shipped = resource_dir("samples")
    counts = {name: round(count * scale) for name, count in RECORDS.items()}

    def number_utterance(record: Any, number: int) -> None:
        record["data"].append({"text": f" number {number}"})

    per_intent = sorted((shipped / "snips").glob("train_*_full.json"))
    for file in per_intent:
        ((intent, records),) = json.loads(file.read_text()).items()
        many = repeated(records, counts["snips"] // len(per_intent), number_utterance)
        write(folder / "snips" / file.name, {intent: list(many)})

    def number_query(record: Any, number: int) -> None:
        record["query"] += f" This is request {number}."

    records = [r for f in (shipped / "xlam").glob("*.json") for r in json.loads(f.read_text())]
    write(folder / "xlam/xlam.json", list(repeated(records, counts["xlam"], number_query)))

    def number_turn(record: Any, number: int) -> None:
        record["conversations"][0]["value"] += f" This is request {number}."

    records = json.loads((shipped / "toolace/data.json").read_text())
    many = list(repeated(records, counts["toolace"], number_turn))
    write(folder / "toolace/data.json", many)

    def number_dialogue(record: Any, number: int) -> None:
        record["dialogue_id"] = str(number)
        record["turns"][0]["utterance"] += f" This is request {number}."

    records = json.loads((shipped / "sgd/dialogues_001.json").read_text())
    many = repeated(records, counts["sgd"], number_dialogue)
    for shard in itertools.count(1):
        group = list(itertools.islice(many, 128))
        if not group:
            break
        write(folder / f"sgd/dialogues_{shard:03}.json", group)
    shutil.copy(shipped / "sgd/schema.json", folder / "sgd/schema.json")


def repeated(records: list[Any], count: int, change: Callable[[Any, int], None]) -> Iterator[Any]:
    """Yields copies of records, each made another by its number."""
    for number in range(count):
        record = json.loads(json.dumps(records[number % len(records)]))
        change(record, number)
        yield record


def write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


if __name__ == "__main__":
    main()
