"""The mixture on disk: parquet shards and a manifest, or JSON Lines of one's own."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.exceptions import DatasetGenerationError

from coalm_oumi.errors import CoalmError
from coalm_oumi.files import write_bytes
from coalm_oumi.jsontext import read_json, read_jsonl
from coalm_oumi.sample import Sample

MANIFEST = "manifest.json"
SPLITS = ("train", "validation")

_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{5}}\.parquet")
_SUFFIXES = (".parquet", ".jsonl")


def split_files(path: Path, split: str) -> tuple[Sequence[Path], bool]:
    """Finds the files of a mixture.

    Args:
        path: A file, a folder that `coalm build` wrote, or one that holds `<split>*.parquet` or
            `<split>*.jsonl`.
        split: The split asked for.

    Returns:
        The files, and whether they hold that split alone.

    Raises:
        CoalmError: No such file.
    """
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise CoalmError(
                f"{path}: expected a {' or '.join(_SUFFIXES)} file or a folder of them"
            )
        return [path], False
    if not path.is_dir():
        raise CoalmError(f"{path}: no such file or folder; `coalm build` makes a mixture")
    if (path / MANIFEST).is_file():
        built = read_json(path / MANIFEST).get("shards", {})
        if split not in built:
            raise CoalmError(
                f"{path}: no {split} split; it was built with "
                f"{', '.join(built) or 'none'} (see validation_fraction)"
            )
        return [path / name for name in built[split]], True
    if any(_SHARD.fullmatch(file.name) for file in path.iterdir()):
        raise CoalmError(f"{path}: a build that did not finish; run `coalm build` again")
    for suffix in _SUFFIXES:
        files = sorted(path.glob(f"{split}*{suffix}"))
        if files:
            return files, True
    raise CoalmError(
        f"{path}: no {split}*{' or *'.join(_SUFFIXES)} here; `coalm build` makes a mixture"
    )


def read_all(path: Path) -> datasets.Dataset:
    """Opens a whole mixture, all its splits, as one table.

    Raises:
        CoalmError: No such mixture.
    """
    files: list[Path] = []
    for split in SPLITS:
        try:
            files += split_files(path, split)[0]
        except CoalmError:
            if split == "train":
                raise
    return read_samples(list(dict.fromkeys(files)))


def clear(folder: Path) -> None:
    """Makes a folder ready for a build: its manifest goes first, then the shards of before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for file in folder.iterdir():
        if _SHARD.fullmatch(file.name):
            file.unlink()


def write_shard(file: Path, rows: Sequence[Sample]) -> None:
    """Writes samples as one parquet file, whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.as_dict() for row in rows]), buffer)
    write_bytes(file, buffer.getvalue())


def read_samples(files: Sequence[Path]) -> datasets.Dataset:
    """Opens files of samples as one table. Parquet stays on disk, memory-mapped.

    Raises:
        CoalmError: A file cannot be read, or a JSON line is not a sample.
    """
    if files[0].suffix == ".parquet":
        try:
            return cast(
                datasets.Dataset,
                datasets.load_dataset("parquet", data_files=[str(f) for f in files], split="train"),
            )
        except (DatasetGenerationError, pa.ArrowInvalid, OSError) as error:
            cause = error.__cause__ or error
            raise CoalmError(f"{', '.join(map(str, files))}: not readable: {cause}") from error
    rows = [
        Sample.from_record(record, where=f"{file}:{number}").as_dict()
        for file in files
        for number, record in read_jsonl(file)
    ]
    if not rows:
        raise CoalmError(f"{', '.join(map(str, files))}: no record")
    return datasets.Dataset.from_list(rows)
