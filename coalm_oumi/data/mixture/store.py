"""Reads a mixture: parquet shards and a manifest, or JSON Lines of one's own."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetGenerationError

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import COLUMNS, TEXT_COLUMNS, columns_of
from coalm_oumi.files.jsontext import read_json, read_jsonl

MANIFEST = "manifest.json"
CARD = "README.md"
STAGING = ".build"
"""Where a build keeps what it has done so far."""

FINDINGS = ("stats.json", "stats.png", "overlap.json")
"""What was found out about a mixture after it was built."""
SPLITS = ("train", "validation")

SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{5}}\.parquet(\..*)?")
"""What a build calls its shards, finished or not."""

_SUFFIXES = (".parquet", ".jsonl")


def split_files(path: Path, split: str) -> tuple[Sequence[Path], bool]:
    """Finds the files of a mixture.

    Args:
        path: A file, a folder that `coalm build` wrote, or one that holds `<split>*.parquet` or
            `<split>*.jsonl`.
        split: The split asked for.

    Returns:
        The files, and whether they hold that split alone. Where there is no validation split, they
        hold both, to be cut by dialogue.

    Raises:
        CoalmError: No such file, or an unknown split.
    """
    check_split(split)
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise CoalmError(
                f"{path}: expected a {' or '.join(_SUFFIXES)} file or a folder of them"
            )
        return [path], False
    if not path.is_dir():
        raise CoalmError(f"{path}: no such file or folder; `coalm build` makes a mixture")
    shards = _shards(path)
    if split not in shards and not (split == "validation" and "train" in shards):
        raise CoalmError(
            f"{path}: no {split}*{' or *'.join(_SUFFIXES)} here; `coalm build` makes a mixture"
        )
    if "validation" not in shards:
        return shards["train"], False  # both splits are cut from it, as from a file
    return shards[split], True


def check_split(split: str) -> None:
    """Checks the name of a split.

    Raises:
        CoalmError: There is no such split.
    """
    if split not in SPLITS:
        raise CoalmError(f"unknown split `{split}`; use {' or '.join(SPLITS)}")


def _shards(folder: Path) -> dict[str, list[Path]]:
    """Finds the files of each split in a folder."""
    if (folder / MANIFEST).is_file():
        manifest = read_json(folder / MANIFEST)
        if isinstance(manifest, dict) and isinstance(manifest.get("shards"), dict):
            return {
                split: [folder / name for name in names]
                for split, names in manifest["shards"].items()
            }
    if any(file.name == STAGING or SHARD.fullmatch(file.name) for file in folder.iterdir()):
        raise CoalmError(f"{folder}: a build that did not finish; run `coalm build` again")
    found: dict[str, list[Path]] = {}
    for split in SPLITS:
        for suffix in _SUFFIXES:
            files = sorted(folder.glob(f"{split}*{suffix}"))
            if files:
                found.setdefault(split, files)
    return found


def read_all(path: Path) -> datasets.Dataset:
    """Opens a whole mixture, all its splits, as one table.

    Raises:
        CoalmError: No such mixture.
    """
    files = [file for split in SPLITS for file in split_files(path, split)[0]]
    return read_samples(list(dict.fromkeys(files)))


def read_samples(files: Sequence[Path]) -> datasets.Dataset:
    """Opens files of samples as one table. Parquet stays on disk, memory-mapped.

    Raises:
        CoalmError: A file cannot be read, or a record is not a sample.
    """
    place = ", ".join(map(str, files))
    if files[0].suffix == ".parquet":
        try:
            table = datasets.load_dataset(
                "parquet", data_files=[str(f) for f in files], split="train"
            )
        except (DatasetGenerationError, pa.ArrowInvalid, OSError) as error:
            raise CoalmError(f"{place}: not readable: {error.__cause__ or error}") from error
        check_columns(cast(datasets.Dataset, table), place)
        return cast(datasets.Dataset, table)
    rows = [
        columns_of(record, where=f"{file}:{number}")
        for file in files
        for number, record in read_jsonl(file)
    ]
    if not rows:
        raise CoalmError(f"{place}: no record")
    for number, row in enumerate(rows, start=1):
        if row.keys() != rows[0].keys():
            raise CoalmError(
                f"{place}: record {number} has the columns {', '.join(row)}, the first one "
                f"{', '.join(rows[0])}; all records must have the same"
            )
    return datasets.Dataset.from_list(rows)


def check_columns(table: datasets.Dataset, place: str) -> None:
    """Checks that a table has the Alpaca columns, as text, and targets that are not empty.

    Raises:
        CoalmError: A column is missing or is not text, a value is missing, or a target is empty.
    """
    for name in TEXT_COLUMNS:
        feature = table.features.get(name)
        if feature is None:
            raise CoalmError(
                f"{place}: no column `{name}`; a CoALM-IT mixture has the columns "
                f"{', '.join(COLUMNS)}, this one has {', '.join(table.column_names)}"
            )
        if getattr(feature, "dtype", None) not in ("string", "large_string"):
            raise CoalmError(f"{place}: column `{name}` is not text")
        column: Any = table.select_columns([name]).with_format("arrow")[:]
        bad = column[name].is_null()
        if name == "output":
            blank = pc.match_substring_regex(column[name], r"^\s*$")  # pyright: ignore
            bad = pc.or_(bad, pc.fill_null(blank, True))  # pyright: ignore
        first = pc.index(bad, True).as_py()
        if first >= 0:
            what = "`output` is empty, so there is nothing to learn"
            raise CoalmError(
                f"{place}: record {first}: "
                + (what if name == "output" else f"`{name}` is missing")
            )
