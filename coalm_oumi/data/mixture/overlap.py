"""`coalm overlap`: does a mixture contain text of benchmarks' test sets? Section 4.2 says no.

Texts are compared as words, lower-cased and without punctuation. A sample overlaps a benchmark if
it contains a whole text of it, or shares 13 words in a row with one, the window of the GPT-3 paper
(Brown et al., 2020, appendix C).
"""
# pyright: standard

import hashlib
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from rich.table import Table

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, leaves, loads
from coalm_oumi.core.sample import TEXT_COLUMNS
from coalm_oumi.files.jsontext import read_json, read_jsonl, write_json
from coalm_oumi.files.records import is_json_lines
from coalm_oumi.rendering import terminal

WINDOW = 13
"""Words in a row that count as shared text."""

MIN_EXACT = 5
"""Shorter texts, such as a greeting, do not count as overlap."""

_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The texts of one benchmark, as hashes.

    Attributes:
        name: Its name.
        texts: The number of its texts with at least `MIN_EXACT` words.
        exact: For each length below `WINDOW`, the hashes of its texts of that length, sorted. A
            longer text is found by its windows.
        windows: The hashes of every `WINDOW` words in a row, sorted.
    """

    name: str
    texts: int
    exact: Mapping[int, np.ndarray]
    windows: np.ndarray


@dataclass(frozen=True, slots=True)
class Overlap:
    """The overlap of a mixture with one benchmark.

    Attributes:
        benchmark: The benchmark's name.
        texts: The number of its texts.
        exact: The number of samples that contain a whole short text.
        windows: The number of samples that share `WINDOW` words in a row.
        examples: The indices of the first samples of either kind.
    """

    benchmark: str
    texts: int
    exact: int
    windows: int
    examples: Sequence[int]


def read_benchmark(name: str, path: Path) -> Benchmark:
    """Collects every text of a benchmark's files, from all fields.

    Args:
        name: The benchmark's name.
        path: A `.json`, `.jsonl` or `.zip` file of JSON, or a folder of them. A `.json` file of
            one record per line, as BFCL's, is read as well.

    Raises:
        CoalmError: No such file, or none with text.
    """
    texts = {" ".join(_words(text)) for text in _texts(path)}
    words = [text.split() for text in texts if text.count(" ") + 1 >= MIN_EXACT]
    if not words:
        raise CoalmError(f"{path}: no text of {MIN_EXACT} words or more")
    by_length: dict[int, list[list[str]]] = {}
    for text in words:
        by_length.setdefault(min(len(text), WINDOW), []).append(text)
    exact = {
        length: np.unique(np.concatenate([hashes(text, length) for text in group]))
        for length, group in by_length.items()
        if length < WINDOW
    }
    long = [hashes(text, WINDOW) for text in by_length.get(WINDOW, [])]
    windows = np.unique(np.concatenate(long)) if long else np.empty(0, np.uint64)
    return Benchmark(name, len(words), exact, windows)


def hashes(words: Sequence[str], length: int) -> np.ndarray:
    """Hashes every `length` words in a row.

    Returns:
        64-bit hashes, one per window; none for fewer words.
    """
    codes = np.fromiter((_code(word) for word in words), np.uint64, count=len(words))
    count = len(codes) - length + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    total = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for start in range(length):
            total = total * _BASE + codes[start : start + count]
    return total


def find(
    table: datasets.Dataset, benchmarks: Sequence[Benchmark], *, workers: int = 1
) -> list[Overlap]:
    """Looks for the benchmarks' texts in a mixture.

    Args:
        table: The samples.
        benchmarks: The benchmarks.
        workers: The number of processes.

    Returns:
        One result per benchmark.

    Raises:
        CoalmError: Two benchmarks have the same name.
    """
    names = [benchmark.name for benchmark in benchmarks]
    if len(set(names)) != len(names):
        raise CoalmError(f"benchmarks: {', '.join(names)}: give each a different name")
    found = table.map(
        _flags,
        fn_kwargs={"benchmarks": benchmarks},
        batched=True,
        remove_columns=table.column_names,
        num_proc=workers if workers > 1 else None,
        load_from_cache_file=False,
        desc="Comparing",
    ).with_format("numpy")[:]
    results = []
    for benchmark in benchmarks:
        exact, windows = (found[f"{kind} {benchmark.name}"] for kind in ("exact", "windows"))
        examples = np.flatnonzero(exact | windows)[:5].tolist()
        counts = int(exact.sum()), int(windows.sum())
        results.append(Overlap(benchmark.name, benchmark.texts, *counts, examples))
    return results


def write(folder: Path, results: Sequence[Overlap], samples: int) -> Path:
    """Writes the results as JSON; returns the file."""
    file = folder / "overlap.json"
    found = {result.benchmark: asdict(result) for result in results}
    write_json(file, {"window": WINDOW, "samples": samples, "benchmarks": found})
    return file


def as_table(results: Sequence[Overlap], samples: int) -> Table:
    """Makes a terminal table of the results."""
    made = terminal.table("benchmark", "texts", "whole text", f"{WINDOW} words", "of samples")
    for result in results:
        counts = (result.texts, result.exact, result.windows, samples)
        made.add_row(result.benchmark, *(f"{count:,}" for count in counts))
    return made


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@cache
def _code(word: str) -> int:
    """Returns 64 bits for a word, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")


def _flags(batch: Mapping[str, list[str]], benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    flags: dict[str, list[bool]] = defaultdict(list)
    lengths = sorted({length for benchmark in benchmarks for length in benchmark.exact})
    for parts in zip(*(batch[name] for name in TEXT_COLUMNS), strict=True):
        words = _words("\n".join(parts))
        by_length = {length: hashes(words, length) for length in (*lengths, WINDOW)}
        for benchmark in benchmarks:
            flags[f"exact {benchmark.name}"].append(
                any(_any_in(by_length[length], known) for length, known in benchmark.exact.items())
            )
            flags[f"windows {benchmark.name}"].append(_any_in(by_length[WINDOW], benchmark.windows))
    return flags


def _any_in(hashed: np.ndarray, known: np.ndarray) -> bool:
    if not len(known) or not len(hashed):
        return False
    places = np.searchsorted(known, hashed)
    places[places == len(known)] = 0
    return bool((known[places] == hashed).any())


def _texts(path: Path) -> Iterator[str]:
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in (".json", ".jsonl", ".zip"))
        if not files:
            raise CoalmError(f"{path}: no .json, .jsonl or .zip file here")
        for file in files:
            yield from _texts(file)
    elif path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".json"):
                        yield from _strings(loads(archive.read(name).decode("utf-8")))
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise CoalmError(f"{path}: not a zip of JSON: {error}") from error
    elif path.suffix == ".jsonl" or is_json_lines(path):
        for _, record in read_jsonl(path):
            yield from _strings(record)
    else:
        yield from _strings(read_json(path))


def _strings(value: Json) -> Iterator[str]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, str))
