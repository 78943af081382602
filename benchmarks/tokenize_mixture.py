"""First pass over a mixture: ours beside Oumi's stock Alpaca path, and the tokenizer alone.

    python benchmarks/tokenize_mixture.py MIXTURE TOKENIZER [--samples 4000]

MIXTURE is a folder that `coalm build` wrote, TOKENIZER a Transformers folder. The mixture's first
samples are taken, and repeated where it has fewer than asked for. Each side starts without
a cache, runs in one process, and is taken at its best of three. All three see the same texts; only
ours masks the prompt. The last lines print the ratios: ours to stock, and ours to the ceiling,
which is the fast tokenizer's own `encode_batch` over texts that are already rendered.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import oumi.datasets
import transformers

from coalm_oumi.data.datasets import base
from coalm_oumi.data.datasets.mixture import MixtureDataset
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.data.mixture.store import read_all

RUNS = 3


def main() -> None:
    """Measures all sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--samples", type=int, default=4000)
    options = parser.parse_args()
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
    table = read_all(options.mixture)
    rows = [dict(table[n % len(table)]) for n in range(options.samples)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mixture.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        speeds = {
            "stock Oumi Alpaca": best(lambda: stock(file, tokenizer), options.samples),
            "coalm-oumi": best(lambda: ours(file, tokenizer), options.samples),
            "encode_batch alone": best(ceiling(rows, tokenizer), options.samples),
        }
    lengths = [
        len(ids) for ids in tokenizer([r["instruction"] + r["input"] for r in rows])["input_ids"]
    ]
    print(f"{options.samples} samples of {sum(lengths) / len(lengths):.0f} tokens on average")
    for name, speed in speeds.items():
        print(f"{name:<20}{speed:>10,.0f} samples/s")
    print(f"ours / stock     {speeds['coalm-oumi'] / speeds['stock Oumi Alpaca']:.2f}")
    print(f"ours / ceiling   {speeds['coalm-oumi'] / speeds['encode_batch alone']:.2f}")


def best(run: Callable[[], float], samples: int) -> float:
    """Returns samples a second of the fastest run. A run returns its seconds."""
    return samples / min(run() for _ in range(RUNS))


def stock(file: Path, tokenizer: Any) -> float:
    """Oumi's Alpaca dataset, which CoALM's published recipes use."""
    dataset = oumi.datasets.AlpacaDataset(
        dataset_path=str(file), tokenizer=tokenizer, include_system_prompt=False
    )
    start = time.perf_counter()
    for _ in dataset.as_generator():
        pass
    return time.perf_counter() - start


def ours(file: Path, tokenizer: Any) -> float:
    """Our dataset, into a separate cache."""
    with tempfile.TemporaryDirectory() as cache:
        base.HF_DATASETS_CACHE = cache
        dataset = MixtureDataset(
            dataset_name="coalm-oumi/mixture", dataset_path=str(file), tokenizer=tokenizer
        )
        start = time.perf_counter()
        dataset.to_hf()
        return time.perf_counter() - start


def ceiling(rows: list[dict[str, Any]], tokenizer: Any) -> Callable[[], float]:
    """The tokenizer over the same conversations, rendered beforehand."""
    texts = [
        tokenizer.apply_chat_template(
            [
                {"role": "user", "content": user_message(row["instruction"], row["input"])},
                {"role": "assistant", "content": row["output"]},
            ],
            tokenize=False,
        )
        for row in rows
    ]

    def run() -> float:
        start = time.perf_counter()
        for first in range(0, len(texts), 1000):
            tokenizer.backend_tokenizer.encode_batch(texts[first : first + 1000])
        return time.perf_counter() - start

    return run


if __name__ == "__main__":
    main()
