"""The raw files of a source, streamed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.sources.reader import Record, Rejected
from coalm_oumi.files.records import read_records


def raw_files(path: Path, pattern: str, *, of: str) -> Sequence[Path]:
    """Finds the files that a path stands for.

    Args:
        path: A file, or a folder of files.
        pattern: What the files of a folder are called.
        of: What the path should point to, for the error.

    Raises:
        CoalmError: There are none.
    """
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    if not files:
        raise CoalmError(f"{path}: no {pattern} here; point to {of}")
    if not files[0].is_file():
        raise CoalmError(f"{path}: no such file or folder; point to {of}")
    return files


def total_size(files: Sequence[Path]) -> int:
    """Returns how many bytes the files have."""
    return sum(file.stat().st_size for file in files)


def listed(files: Sequence[Path], *, of: str) -> Iterator[Record | Rejected]:
    """Yields the records of files: JSON lists, JSON Lines or Parquet.

    A line that is not JSON is a rejected record.

    Raises:
        CoalmError: A file is none of these.
    """
    done = 0
    for file in files:
        for record in read_records(file, of=of):
            if record.problem is not None:
                yield Rejected(record.place, record.problem)
                continue
            key = f"{file.name}/{record.index}"
            yield Record(record.place, key, record.content, done + record.read)
        done += file.stat().st_size
