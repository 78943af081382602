"""An append-only file of finished work, so that an interrupted run resumes where it stopped."""

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.core.jsontext import Json, dumps, is_object, nests_deeper

FSYNC_SECONDS = 1.0
"""Records are written at once and fsynced in groups. A power cut loses at most this many."""

_DEEPEST = 500
"""The most levels of a record, for every Python. Python 3.11 cannot read about 1,000 levels."""


class Journal:
    """Records of finished work in a JSON Lines file, each under its own key.

    The first line states what the records depend on (model, prompt, data). If it differs, the
    journal is refused, or started over if it holds no record. A last line that was cut short by a
    kill is dropped. Any other damaged line is skipped with a warning, and its work counts as not
    done.

    Example:
        >>> with Journal(Path("answers.jsonl"), made_by={"model": "a"}) as journal:
        ...     for key in work:
        ...         if key not in journal:
        ...             journal.append(key, answer(key))

    Attributes:
        path: The file.
        records: The records by key, in the order of the file.
        skipped: The numbers of the damaged lines, from 1.
    """

    def __init__(self, path: Path, *, made_by: Json) -> None:
        """Opens or continues a journal, and keeps other processes from writing it.

        Args:
            path: The file; its folder is created if missing.
            made_by: What the records depend on, as JSON.

        Raises:
            CoalmError: Another process is writing the journal, its first line differs or is
                damaged, or the file cannot be written.
        """
        self.path = path
        self.records: dict[str, Json] = {}
        self.skipped: list[int] = []
        self._lock = FileLock(f"{path}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise CoalmError(
                f"{path}: another process is writing this journal; wait until it ends"
            ) from error
        except OSError as error:
            raise WriteError(path, error) from error
        try:
            self._read(made_by)
            # Unbuffered, so that a write that fails on a full disk is not repeated later.
            self._stream = path.open("ab", buffering=0)
            self._synced = time.monotonic()
            if not path.stat().st_size:
                self._write({"made_by": made_by})
                self.sync()
        except OSError as error:
            self._lock.release()
            raise error if isinstance(error, CoalmError) else WriteError(path, error) from error
        except BaseException:
            self._lock.release()
            raise
        if self.skipped:
            lines = ", ".join(f"{path}:{number}" for number in self.skipped[:3])
            more = f" and {len(self.skipped) - 3} more" if len(self.skipped) > 3 else ""
            warnings.warn(
                f"skipped damaged lines of a journal: {lines}{more}; the work that they "
                "recorded is done again",
                stacklevel=2,
            )

    def __enter__(self) -> "Journal":
        """Returns the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def __contains__(self, key: str) -> bool:
        """Returns True if the work of that key is done."""
        return key in self.records

    def append(self, key: str, record: Json) -> None:
        """Records finished work. A later record with the same key replaces the earlier one.

        Raises:
            WriteError: The disk is full or read-only. The file holds whole lines only.
        """
        self._write({"key": key, "record": record})
        self.records[key] = record
        if time.monotonic() - self._synced > FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Forces the appended records onto the disk.

        Raises:
            WriteError: The disk refuses it.
        """
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise WriteError(self.path, error) from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Forces the rest onto the disk and releases the lock."""
        try:
            self.sync()
        finally:
            self._stream.close()
            self._lock.release()

    def _write(self, line: Json) -> None:
        """Appends one whole line, or nothing."""
        content = dumps(line).encode("utf-8", errors="surrogatepass") + b"\n"
        end = os.fstat(self._stream.fileno()).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]
        except OSError as error:
            os.ftruncate(self._stream.fileno(), end)
            raise WriteError(self.path, error) from error
        except BaseException:  # Ctrl-C in the middle of a line
            os.ftruncate(self._stream.fileno(), end)
            raise

    def _read(self, made_by: Json) -> None:
        if not self.path.exists():
            return
        whole = 0
        other = None
        with self.path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if not raw.endswith(b"\n"):
                    break  # killed in the middle of a line
                line = _parse(raw)
                if number == 1:
                    if line is None or line.keys() != {"made_by"}:
                        raise CoalmError(
                            f"{self.path}:1: not the first line of a journal; move the file away "
                            "to start over"
                        )
                    if line["made_by"] != json.loads(dumps(made_by)):
                        other = dumps(line["made_by"])
                elif (
                    line is None
                    or line.keys() != {"key", "record"}
                    or not isinstance(line["key"], str)
                ):
                    self.skipped.append(number)
                else:
                    self.records[line["key"]] = line["record"]
                whole += len(raw)
        if other and self.records:
            raise CoalmError(
                f"{self.path}: was made by {other}, this run is {dumps(made_by)}; move the file "
                "away to start over"
            )
        if other:  # it holds no record, so nothing is lost
            whole = 0
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Reads a line as a JSON object; None if it is something else."""
    try:
        text = raw.decode("utf-8", errors="surrogatepass")
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if is_object(line) and not nests_deeper(text, line, _DEEPEST) else None
