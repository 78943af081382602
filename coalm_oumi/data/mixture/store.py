"""Reads a mixture: Parquet shards and a manifest, or files of your own records."""
# pyright: standard

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetGenerationError

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import is_object
from coalm_oumi.core.sample import COLUMNS, TEXT_COLUMNS
from coalm_oumi.core.wording import counted
from coalm_oumi.data.sources.alpaca import sample_columns
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.files.records import SUFFIXES, read_records

MANIFEST = "manifest.json"
CARD = "README.md"
STAGING = ".build"
"""The folder of an unfinished build."""

FINDINGS = ("stats.json", "stats.png", "overlap.json")
"""Files that other commands write about a mixture after it was built."""
SPLITS = ("train", "validation")

SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{5}}\.parquet(\..*)?")
"""The names of a build's shards, finished or not."""

_log = logging.getLogger("oumi")
"""Oumi's logger, whose lines a run saves beside the model."""


def split_files(path: Path, split: str) -> tuple[Sequence[Path], bool]:
    """Finds the files of a mixture.

    Args:
        path: A file, a folder that `coalm build` wrote, or one that holds `<split>*.parquet`,
            `.jsonl` or `.json`, itself or in its `data`, as a snapshot of a hub data set does.
        split: The split asked for.

    Returns:
        The files, and whether they hold only that split. If there is no validation split, they
        hold both, to be cut by dialogue.

    Raises:
        CoalmError: No such file, or an unknown split.
    """
    check_split(split)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise CoalmError(f"{path}: expected a {' or '.join(SUFFIXES)} file or a folder of them")
        return [path], False
    if not path.is_dir():
        raise CoalmError(f"{path}: no such file or folder; `coalm build` makes a mixture")
    shards = _shards(path)
    if not shards and (path / "data").is_dir():
        shards = _shards(path / "data")
    if split not in shards and not (split == "validation" and "train" in shards):
        raise CoalmError(
            f"{path}: no {split}*{' or *'.join(SUFFIXES)} here; `coalm build` makes a mixture"
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
        if is_object(manifest) and is_object(manifest.get("shards")):
            shards = manifest["shards"].items()
            return {split: [folder / name for name in names] for split, names in shards}
    if any(file.name == STAGING or SHARD.fullmatch(file.name) for file in folder.iterdir()):
        raise CoalmError(f"{folder}: holds an unfinished build; run `coalm build` again")
    found: dict[str, list[Path]] = {}
    for split in SPLITS:
        for suffix in SUFFIXES:
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


def read_samples(files: Sequence[Path], *, strict: bool = False) -> datasets.Dataset:
    """Opens files of samples as one table. Parquet stays on disk, memory-mapped.

    Records may also be chat messages; `data.sources.alpaca` says how they become samples.

    Args:
        files: Files of one kind.
        strict: Stop at the first record that is not a sample, instead of leaving it out with a
            warning.

    Raises:
        CoalmError: A file cannot be read, no record is a sample, or one is not in strict mode.
    """
    place = ", ".join(map(str, files))
    if files[0].suffix != ".parquet":
        return _read_records(files, place, strict=strict)
    try:
        table = datasets.load_dataset("parquet", data_files=[str(f) for f in files], split="train")
    except (DatasetGenerationError, pa.ArrowInvalid, OSError) as error:
        raise CoalmError(f"{place}: cannot be read: {error.__cause__ or error}") from error
    return as_samples(cast(datasets.Dataset, table), place, strict=strict)


def _read_records(files: Sequence[Path], place: str, *, strict: bool) -> datasets.Dataset:
    rows: list[dict[str, str]] = []
    rejected: list[str] = []
    for file in files:
        for record in read_records(file, of="samples"):
            if record.problem is not None:
                rejected.append(f"{record.place}: {record.problem}")
                continue
            try:
                rows.append(sample_columns(record.content))
            except CoalmError as error:
                rejected.append(f"{record.place}: {error}")
    _report(rejected, place, kept=len(rows), strict=strict)
    for number, row in enumerate(rows, start=1):
        if row.keys() != rows[0].keys():
            raise CoalmError(
                f"{place}: record {number} has the columns {', '.join(row)}, the first one "
                f"{', '.join(rows[0])}; all records must have the same"
            )
    return datasets.Dataset.from_list(rows)


def as_samples(table: datasets.Dataset, place: str, *, strict: bool = False) -> datasets.Dataset:
    """Returns a table's samples, which is the table itself if every row is a sample.

    Otherwise an input that is null or absent becomes empty text, chat messages become columns, and
    rows that are not samples are left out with a warning.

    Raises:
        CoalmError: The table has other columns, no row is a sample, or one is not in strict mode.
    """
    try:
        check_columns(table, place)
        return table
    except CoalmError as error:
        if "messages" not in table.column_names and "output" not in table.column_names:
            raise
        first_problem = error
    features = datasets.Features({name: datasets.Value("string") for name in (*COLUMNS, _PROBLEM)})
    converted = table.map(
        _convert, remove_columns=table.column_names, features=features, desc="Reading records"
    )
    good: list[int] = []
    rejected: list[str] = []
    for row, problem in enumerate(read_column(converted, _PROBLEM).to_pylist()):
        if problem is None:
            good.append(row)
        else:
            rejected.append(f"{place}: record {row}: {problem}")
    if not good and "messages" not in table.column_names:
        raise first_problem
    _report(rejected, place, kept=len(good), strict=strict)
    absent = [name for name in COLUMNS if name not in (*TEXT_COLUMNS, *table.column_names)]
    return converted.select(good).remove_columns([_PROBLEM, *absent])


_PROBLEM = "problem"


def _convert(row: Mapping[str, Any]) -> dict[str, str | None]:
    columns: dict[str, str | None] = dict.fromkeys((*COLUMNS, _PROBLEM))
    try:
        columns.update(sample_columns(dict(row)))
    except CoalmError as error:
        columns[_PROBLEM] = str(error)
    return columns


def read_column(table: datasets.Dataset, name: str) -> Any:
    """Reads one column as an Arrow array, and no other column."""
    column: Any = table.select_columns([name]).with_format("arrow")[:]
    return column[name]


def _report(rejected: Sequence[str], place: str, *, kept: int, strict: bool) -> None:
    """Warns of records that are not samples.

    Raises:
        CoalmError: There is one in strict mode, or no record is left.
    """
    if rejected and (strict or not kept):
        raise CoalmError(rejected[0])
    if not kept:
        raise CoalmError(f"{place}: holds no record")
    if rejected:
        shown = "; ".join(rejected[:_SHOWN])
        more = f" and {len(rejected) - _SHOWN} more" if len(rejected) > _SHOWN else ""
        _log.warning(
            f"left out {counted(len(rejected), 'record')} without a sample (`strict: true` stops "
            f"instead): {shown}{more}"
        )


_SHOWN = 5
"""The number of records that a warning names."""


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
        column = read_column(table, name)
        bad, problem = column.is_null(), f"`{name}` is missing"
        if name == "output":
            blank = pc.match_substring_regex(column, r"^\s*$")  # pyright: ignore
            bad, problem = (
                pc.fill_null(blank, True),
                "`output` is empty, so there is nothing to learn",
            )
        first = pc.index(bad, True).as_py()
        if first >= 0:
            raise CoalmError(f"{place}: record {first}: {problem}")
