"""First pass over a mixture: ours beside Oumi's stock Alpaca path, and the tokenizer alone.

    python benchmarks/tokenize_mixture.py MIXTURE TOKENIZER [--samples 4000] [--rounds 5]

MIXTURE is a folder that `coalm build` wrote, TOKENIZER a Transformers folder. The mixture's first
samples are taken, and repeated if it has too few. All sides run in one process and see the same
texts. Ours and stock make the data set that a trainer gets (`to_hf`), each into an empty cache;
only ours masks the prompt. The ceiling is the tokenizer over texts that are already rendered, by
the faster of its two batch calls: `encode_batch`, which also computes offsets, and
`encode_batch_fast`. The sides take turns, and the order is reversed with each round. The last lines
print ratios of medians.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import oumi.datasets
import transformers
from datasets import config
from oumi.utils.logging import logger

from coalm_oumi.data.datasets import base
from coalm_oumi.data.datasets.mixture import MixtureDataset
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.data.mixture.store import read_all

BATCH = 1000
"""Texts to a call of the tokenizer, as `datasets` hands them to ours."""
MAX_LENGTH = 4096
"""Tokens of the longest sample, as in `recipes/coalm_8b.yaml`: longer than any at hand."""


def main() -> None:
    """Measures all sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    datasets.disable_progress_bars()
    logger.setLevel("WARNING")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        options.tokenizer, model_max_length=MAX_LENGTH
    )
    table = read_all(options.mixture)
    rows = table.select([n % len(table) for n in range(options.samples)])
    texts = rendered(rows, tokenizer)
    backend = tokenizer.backend_tokenizer
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mixture.parquet"
        rows.to_parquet(file)
        sides: dict[str, Callable[[], float]] = {
            "stock": lambda: stock(file, tokenizer),
            "ours": lambda: ours(file, tokenizer),
            "encode_batch": lambda: alone(texts, backend, backend.encode_batch),
            "encode_batch_fast": lambda: alone(texts, backend, backend.encode_batch_fast),
        }
        times: dict[str, list[float]] = defaultdict(list)
        for round_ in range(options.rounds):
            for name in sides if round_ % 2 == 0 else reversed(sides):
                times[name].append(sides[name]())
    lengths = [len(encoding) for encoding in backend.encode_batch_fast(texts)]
    print(f"{len(texts)} samples of {statistics.mean(lengths):.0f} tokens on average, samples/s:")
    speeds = {name: len(texts) / statistics.median(times[name]) for name in sides}
    for name, speed in speeds.items():
        slow, fast = (len(texts) / seconds for seconds in (max(times[name]), min(times[name])))
        print(f"{name:<20}{speed:>8,.0f}  (from {slow:,.0f} to {fast:,.0f})")
    print(f"ours / stock    {speeds['ours'] / speeds['stock']:.2f}")
    ceiling = max(speeds["encode_batch"], speeds["encode_batch_fast"])
    print(f"ours / ceiling  {speeds['ours'] / ceiling:.2f}")


def stock(file: Path, tokenizer: Any) -> float:
    """Oumi's Alpaca dataset, which CoALM's published recipes use."""
    return first_pass(
        oumi.datasets.AlpacaDataset(
            dataset_path=str(file), tokenizer=tokenizer, include_system_prompt=False
        )
    )


def ours(file: Path, tokenizer: Any) -> float:
    """Our dataset."""
    return first_pass(
        MixtureDataset(
            dataset_name="coalm-oumi/mixture", dataset_path=str(file), tokenizer=tokenizer
        )
    )


def first_pass(dataset: Any) -> float:
    """Tokenises a dataset into an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        base.HF_DATASETS_CACHE = config.HF_DATASETS_CACHE = cache
        start = time.perf_counter()
        made = dataset.to_hf()
        seconds = time.perf_counter() - start
        # Stock tokens of an earlier round would be found by their fingerprint.
        assert all(Path(file["filename"]).is_relative_to(cache) for file in made.cache_files)
        return seconds


def rendered(rows: datasets.Dataset, tokenizer: Any) -> list[str]:
    """Renders the conversations by the chat template."""
    return [
        tokenizer.apply_chat_template(
            [
                {"role": "user", "content": user_message(row["instruction"], row["input"])},
                {"role": "assistant", "content": row["output"]},
            ],
            tokenize=False,
        )
        for row in map(dict, rows)
    ]


def alone(texts: list[str], backend: Any, encode: Callable[[list[str]], object]) -> float:
    """The tokenizer's own batch call, which the stock side may have told to pad or to cut."""
    backend.no_truncation()
    backend.no_padding()
    start = time.perf_counter()
    for first in range(0, len(texts), BATCH):
        encode(texts[first : first + BATCH])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
