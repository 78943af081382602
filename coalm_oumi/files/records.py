"""Reads files of records one by one: a JSON list, JSON Lines or Parquet."""
# pyright: standard

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.files.jsontext import read_lines, stream_json_list

SUFFIXES = (".parquet", ".jsonl", ".json")
"""The kinds of files that hold records. A `.json` file may hold a list or JSON Lines."""

_NO_RECORDS = ("dataset_info", "dataset_infos", "manifest", "stats", "overlap", "state")
"""Names of JSON files that describe a data set, beside its records."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One record of a file.

    Attributes:
        place: `file:line` for JSON Lines, `file[index]` for the others.
        index: Its number in the file, from 0.
        content: The record.
        read: How many bytes of the file were read up to the record's end; an estimate for Parquet.
        problem: Why the record cannot be read; its content is then None.
    """

    place: str
    index: int
    content: Json
    read: int
    problem: str | None = None


def is_record_file(path: Path) -> bool:
    """Returns True if a file's name is that of a file of records."""
    return path.suffix in SUFFIXES and path.stem not in _NO_RECORDS


def record_files(folder: Path) -> Sequence[Path]:
    """Finds the files of records in a folder, or in its `data` as in a snapshot from the Hub.

    If some are called `train...`, the others belong to other splits and are ignored.
    """
    for home in (folder, folder / "data"):
        if not home.is_dir():
            continue
        files = sorted(file for file in home.iterdir() if file.is_file() and is_record_file(file))
        train = [file for file in files if file.name.startswith("train")]
        if files:
            return train or files
    return []


def read_records(path: Path, *, of: str) -> Iterator[FileRecord]:
    """Yields the records of one file, holding few of them at a time.

    A line of JSON Lines that is not JSON is yielded with its problem; the lines after it follow.

    Args:
        path: A file with one of `SUFFIXES`.
        of: What it holds, in the plural, for the error.

    Raises:
        CoalmError: The file is missing, unreadable, or of another kind.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".jsonl" or (path.suffix == ".json" and is_json_lines(path)):
        size = path.stat().st_size if path.is_file() else 0
        for index, (number, content, problem) in enumerate(read_lines(path)):
            yield FileRecord(f"{path}:{number}", index, content, size, problem)
    elif path.suffix == ".json":
        for index, (content, read) in enumerate(stream_json_list(path, of=of)):
            yield FileRecord(f"{path}[{index}]", index, content, read)
    else:
        raise CoalmError(f"{path}: expected a file of {of} that ends in {', '.join(SUFFIXES)}")


def is_json_lines(path: Path) -> bool:
    """Returns True if a `.json` file is JSON Lines: its first line is an object."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            first = stream.readline(1 << 24).strip()
    except (OSError, ValueError):
        return False  # reading it as a list will name the problem
    return first.startswith("{") and first.endswith("}")


def _parquet(path: Path) -> Iterator[FileRecord]:
    import pyarrow as pa  # 100 ms, which the other kinds do not need
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            total, size, index = file.metadata.num_rows, path.stat().st_size, 0
            for batch in file.iter_batches(batch_size=1000):
                for content in batch.to_pylist():
                    read = size * (index + 1) // total
                    yield FileRecord(f"{path}[{index}]", index, content, read)
                    index += 1
    except FileNotFoundError as error:
        raise CoalmError(f"{path}: no such file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise CoalmError(f"{path}: cannot be read: {error}") from error


def is_whole_arrow(path: Path) -> bool:
    """Returns True if a file holds a complete Arrow stream. The file is mapped, not copied."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError):
        return False
    return True
