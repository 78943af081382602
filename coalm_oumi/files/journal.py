"""An append-only file of finished work, so that a killed run goes on where it stopped."""

import json
import os
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps

FSYNC_SECONDS = 1.0
"""Records are flushed at once and fsynced in groups: a power cut loses at most this much."""


class Journal:
    """Records of finished work in a JSON Lines file, each under a key of its own.

    The first line says what the records depend on (model, prompt, data). A journal whose first
    line says something else is not continued, or starts anew where it holds no record. A last line
    cut short by a kill is dropped.

    Example:
        >>> with Journal(Path("answers.jsonl"), made_by={"model": "a"}) as journal:
        ...     for key in work:
        ...         if key not in journal:
        ...             journal.append(key, answer(key))

    Attributes:
        records: What was recorded, by key, in the order of the file.
    """

    def __init__(self, path: Path, *, made_by: Json) -> None:
        """Opens or continues a journal, and keeps others from writing it.

        Args:
            path: The file; its folder is made where there is none.
            made_by: What the records depend on, as JSON.

        Raises:
            CoalmError: Another process writes the journal, it was made by something else, or a
                line before the last is not one of a journal's.
        """
        self.path = path
        self.records: dict[str, Json] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise CoalmError(f"{path}: another process is writing this journal") from error
        try:
            self._read(made_by)
            self._stream = path.open("ab")
            if not path.stat().st_size:
                self._write({"made_by": made_by})
                self.sync()
        except BaseException:
            self._lock.release()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> "Journal":
        """Returns the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()

    def __contains__(self, key: str) -> bool:
        """Says whether the work of that key is done."""
        return key in self.records

    def append(self, key: str, record: Json) -> None:
        """Records finished work. A later record of the same key takes the place of the former."""
        self._write({"key": key, "record": record})
        self.records[key] = record
        if time.monotonic() - self._synced > FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Forces what was appended onto the disk."""
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Forces the rest onto the disk and lets others write."""
        self.sync()
        self._stream.close()
        self._lock.release()

    def _write(self, line: Json) -> None:
        self._stream.write(dumps(line).encode("utf-8", errors="surrogatepass") + b"\n")
        self._stream.flush()

    def _read(self, made_by: Json) -> None:
        if not self.path.exists():
            return
        whole = 0
        other = None
        with self.path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if not raw.endswith(b"\n"):
                    break  # killed in the middle of a line
                line = self._line(raw, number)
                if number > 1:
                    self.records[line["key"]] = line["record"]
                elif line["made_by"] != json.loads(dumps(made_by)):
                    other = dumps(line["made_by"])
                whole += len(raw)
        if other and self.records:
            raise CoalmError(
                f"{self.path}: was made by {other}, this run is {dumps(made_by)}; move the file "
                "away to start anew"
            )
        if other:  # opened, and nothing was done: nothing is lost
            whole = 0
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)

    def _line(self, raw: bytes, number: int) -> Json:
        expected = {"made_by"} if number == 1 else {"key", "record"}
        try:
            line = json.loads(raw.decode("utf-8", errors="surrogatepass"))
        except ValueError:
            line = None
        if not isinstance(line, dict) or line.keys() != expected:
            raise CoalmError(
                f"{self.path}:{number}: not a line of a journal; move the file away to start anew"
            )
        return line
