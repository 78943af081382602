"""A later start of a run: time to the first batch and memory per rank, ours beside Oumi's.

    python benchmarks/later_start.py MIXTURE TOKENIZER [--batch 8]

MIXTURE is a folder that `coalm build` wrote, TOKENIZER a Transformers folder. Each side is a
separate process, as a rank is, that has imported what a trainer imports. It opens the training
split through its dataset class and takes a batch of `--batch` samples. Ours has run once before, so
that its tokens are in the cache, as they are for every rank but the first and for every later
start. The stock class has no such cache: it reads the split, here as JSON Lines, and tokenises all
of it. Memory is what the process holds for itself (RssAnon) and with the pages of the mapped files,
which all ranks share (RSS), both beyond what it held after its imports.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDES = ("stock", "ours")


def main() -> None:
    """Measures both sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        rank(options.side, options.mixture, options.tokenizer, options.batch)
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "train.jsonl"
        count = write_lines(options.mixture, lines)
        command = [sys.executable, __file__, "--batch", str(options.batch)]
        ours = [*command, "--side", "ours", str(options.mixture), str(options.tokenizer)]
        first = measured(ours)
        found = {
            "stock": measured([*command, "--side", "stock", str(lines), str(options.tokenizer)]),
            "ours": measured(ours),
        }
    print(f"{count} samples; our first start, with an empty cache or not: {first['seconds']:.1f} s")
    print(f"{'':<8}{'first batch':>14}{'own memory':>14}{'with mapped files':>20}")
    for side, result in found.items():
        print(
            f"{side:<8}{result['seconds']:>12.1f} s{result['anonymous']:>12.2f} GB"
            f"{result['resident']:>18.2f} GB"
        )
    print(f"stock / ours, time    {found['stock']['seconds'] / found['ours']['seconds']:.1f}")
    print(f"stock / ours, memory  {found['stock']['anonymous'] / found['ours']['anonymous']:.1f}")


def write_lines(mixture: Path, file: Path) -> int:
    """Writes the training split as JSON Lines."""
    from coalm_oumi.data.mixture.store import read_samples, split_files

    table = read_samples(split_files(mixture, "train")[0])
    with file.open("w") as stream:
        for row in table:
            stream.write(json.dumps(row) + "\n")
    return len(table)


def measured(command: Sequence[str]) -> dict[str, float]:
    """Runs one side, which prints what it measured last."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def rank(side: str, data: Path, tokenizer_path: Path, batch: int) -> None:
    """Starts as a rank does, up to the first batch."""
    import oumi.datasets
    import transformers
    from oumi.core.collators.text_collator_with_padding import TextCollatorWithPadding

    from coalm_oumi.data.datasets.mixture import MixtureDataset

    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_path)
    before = memory()
    start = time.perf_counter()
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
    seconds = time.perf_counter() - start
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
