"""Start of a run, cold and warm: time to the first batch and memory per rank, ours beside Oumi's.

    python benchmarks/later_start.py MIXTURE TOKENIZER [--rounds 3] [--batch 8]

MIXTURE is a folder that `coalm build` wrote, TOKENIZER a Transformers folder. A start is a separate
process, as a rank is. It imports what a trainer imports, opens the training split through its
dataset class, as a recipe does, and takes a batch of `--batch` samples. Imports are not timed. The
stock class is Oumi's Alpaca class over one Parquet file of the same samples.

Both classes keep tokens in the cache of `datasets`, and each round gives each side an empty cache.
The first start with it is cold. The second is warm, like that of a resumed run or of any rank but
the first. The side that goes first changes with each round. Memory is what the process holds for
itself (RssAnon), and what it holds with the pages of the mapped files, which all ranks share (RSS),
both beyond what it held after its imports. The last lines print stock over ours, from medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

SIDES = ("stock", "ours")
STARTS = ("cold", "warm")
MAX_LENGTH = 4096
"""Tokens of the longest sample, as in `recipes/coalm_8b.yaml`: longer than any at hand."""


def main() -> None:
    """Measures both sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        rank(options.side, options.mixture, options.tokenizer, options.batch)
        return
    command = [sys.executable, __file__, "--batch", str(options.batch), "--side"]
    found: dict[tuple[str, str], list[Mapping[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        data = {"stock": Path(folder) / "train.parquet", "ours": options.mixture}
        count = write_split(options.mixture, data["stock"])
        for round_ in range(options.rounds):
            for start in STARTS:
                for side in SIDES if round_ % 2 == 0 else reversed(SIDES):
                    place = [side, str(data[side]), str(options.tokenizer)]
                    cache = Path(folder) / f"{side}-{round_}"
                    found[start, side].append(measured([*command, *place], cache))
    show(found, count)


def write_split(mixture: Path, file: Path) -> int:
    """Writes the training split as one Parquet file, and returns its number of samples."""
    from coalm_oumi.data.mixture.store import read_samples, split_files

    table = read_samples(split_files(mixture, "train")[0])
    table.to_parquet(file)
    return len(table)


def measured(command: Sequence[str], cache: Path) -> Mapping[str, float]:
    """Runs one start over a cache. It prints what it measured last."""
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show(found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]], count: int) -> None:
    """Prints medians and spreads, and the ratios of the medians."""
    rounds = len(found["cold", "ours"])
    print(f"{count} samples, median of {rounds} rounds")
    print(f"{'':<12}{'first batch':>14}{'from .. to':>18}{'own memory':>14}{'with mapped':>14}")
    medians: dict[tuple[str, str], dict[str, float]] = {}
    for (start, side), results in found.items():
        middle = {key: statistics.median(r[key] for r in results) for key in results[0]}
        medians[start, side] = middle
        times = sorted(result["seconds"] for result in results)
        print(
            f"{side:<6}{start:<6}{middle['seconds']:>12.2f} s"
            f"{f'{times[0]:.2f} .. {times[-1]:.2f} s':>18}"
            f"{middle['anonymous']:>11.2f} GB{middle['resident']:>11.2f} GB"
        )
    for start in STARTS:
        stock, ours = (medians[start, side] for side in SIDES)
        print(
            f"stock / ours, {start}:  time {stock['seconds'] / ours['seconds']:.2f},  own memory "
            f"{stock['anonymous'] / ours['anonymous']:.2f}"
        )


def rank(side: str, data: Path, tokenizer_path: Path, batch: int) -> None:
    """Starts as a rank does, up to the first batch."""
    import oumi.datasets
    import transformers
    from oumi.core.collators.text_collator_with_padding import TextCollatorWithPadding

    from coalm_oumi.data.datasets.mixture import MixtureDataset

    tokenizer = transformers.AutoTokenizer.from_pretrained(
        tokenizer_path, model_max_length=MAX_LENGTH
    )
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as a recipe says one
    before = memory()
    start = perf_counter()
    if side == "stock":
        dataset: Any = oumi.datasets.AlpacaDataset(
            dataset_path=str(data), tokenizer=tokenizer, include_system_prompt=False
        )
    else:
        dataset = MixtureDataset(
            dataset_name="coalm-oumi/mixture", dataset_path=str(data), tokenizer=tokenizer
        )
    samples = dataset.to_hf()
    collate = TextCollatorWithPadding(tokenizer, max_length=None)
    shape = collate([samples[n] for n in range(batch)])["input_ids"].shape
    assert shape[0] == batch
    seconds = perf_counter() - start
    grown = {key: value - before[key] for key, value in memory().items()}
    print(json.dumps({"seconds": seconds, **grown}))


def memory() -> dict[str, float]:
    """Returns this process's memory in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {
        name: int(found[key].split()[0]) * 1024 / 1e9
        for name, key in (("resident", "VmRSS"), ("anonymous", "RssAnon"))
    }


if __name__ == "__main__":
    main()
