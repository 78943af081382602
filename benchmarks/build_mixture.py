"""Build throughput and memory: one process beside all cores, a small mixture beside a large one.

    python benchmarks/build_mixture.py [--scale 0.1] [--workers 2]

Raw files as large as the published ones times `--scale` are made from the records that ship with
the package, each copy with a different number, so that nothing is a duplicate. They are built in
three separate processes: a tenth of them with all workers, all of them with all workers, and
all of them with one. Memory is the most that the building process and its workers held for
themselves at once (RssAnon); a build in constant memory needs as much for all as for the tenth,
except for the order of the samples, which takes some hundred bytes each.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coalm_oumi.files.resources import resource_dir

RECORDS = {"snips": 13_784, "xlam": 67_500, "toolace": 11_300, "sgd": 16_142}
"""How many raw records the published sources have."""


def main() -> None:
    """Measures all sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows = []
        for name, scale, workers in (
            ("a tenth", options.scale / 10, options.workers),
            ("all", options.scale, options.workers),
            ("all, one process", options.scale, 1),
        ):
            make_raw(home / "raw", scale)
            rows.append((name, *build(home, workers)))
    print(f"{'':<18}{'samples':>10}{'seconds':>10}{'samples/s':>11}{'memory':>12}")
    for name, samples, seconds, memory in rows:
        print(
            f"{name:<18}{samples:>10,}{seconds:>10.1f}{samples / seconds:>11,.0f}{memory:>9,} MiB"
        )
    (_, _, _, small), (_, _, fast, large), (_, _, slow, _) = rows
    print(f"one process / {options.workers} processes, time  {slow / fast:.2f}")
    print(f"all / a tenth, memory           {large / small:.2f}")


def build(home: Path, workers: int) -> tuple[int, float, int]:
    """Returns the samples, the seconds and the peak memory in MiB of one build."""
    recipe = home / "data.yaml"
    sources = {name: {"path": str(home / "raw" / name)} for name in RECORDS}
    sources["hammer"] = sources.pop("xlam")
    recipe.write_text(json.dumps({"output_dir": str(home / "out"), "sources": sources}))
    command = [sys.executable, "-m", "coalm_oumi", "build", "-c", str(recipe)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(process.returncode)
    counts = json.loads((home / "out/manifest.json").read_text())["samples"]
    return sum(sum(split.values()) for split in counts.values()), seconds, peak // 1024


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
    shutil.rmtree(folder, ignore_errors=True)
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
