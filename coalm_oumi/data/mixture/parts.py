"""The rendered samples of a source on disk, in parts, so that builds run in parallel and resume.

A part holds the samples of `PART_RECORDS` raw records and is written atomically. It is an
Arrow file, which is memory-mapped when the mixture is put together, so that neither rendering nor
merging ever holds more of the mixture than a few parts. Importing this is cheap, since every
process that renders does.
"""
# pyright: standard

import hashlib
import itertools
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, loads
from coalm_oumi.core.sample import COLUMNS, Sample
from coalm_oumi.data.sources import LeftOut, Reader, Record, Rejected, render
from coalm_oumi.files.atomic import write_bytes
from coalm_oumi.files.children import end_with_parent
from coalm_oumi.files.records import is_whole_arrow

PART_RECORDS = 128

DIGEST = "digest"
"""The column of a part with the digest of a sample's text, equal for duplicates."""

_SCHEMA = pa.schema([*((name, pa.string()) for name in COLUMNS), (DIGEST, pa.binary())])
_REJECTED = b"rejected"
_LEFT_OUT = b"left_out"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is on disk.

    Attributes:
        file: The file.
        read: How many bytes of its source were read up to its end.
    """

    file: Path
    read: int


Submit = Callable[[str, Path, Sequence[Record | Rejected]], "Future[None]"]


@contextmanager
def renderer(readers: Mapping[str, Reader], *, workers: int) -> Iterator[Submit]:
    """Opens the processes that render parts. One worker is this process itself.

    Yields:
        A function that takes a reader's name, a part's file and its records, and writes the part.
    """
    if workers == 1:

        def submit(name: str, file: Path, records: Sequence[Record | Rejected]) -> "Future[None]":
            write_part(readers[name], file, records)
            return _done()

        yield submit
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_keep_readers,
        initargs=(readers, os.getpid()),
    ) as pool:

        def submit_to_pool(
            name: str, file: Path, records: Sequence[Record | Rejected]
        ) -> "Future[None]":
            with _interrupts_held():  # `pool.submit` starts the processes one by one
                return pool.submit(_write_part_of, name, file, records)

        try:
            yield submit_to_pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def parts(name: str, reader: Reader, folder: Path, submit: Submit, *, ahead: int) -> Iterator[Part]:
    """Renders a source into parts, and yields them in order.

    A part that exists is not rendered again.

    Args:
        name: The reader's name.
        reader: The source.
        folder: The folder of its parts.
        submit: The function that `renderer` yields.
        ahead: The number of parts to render ahead.

    Raises:
        CoalmError: A file is not of the source's shape.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pending: deque[tuple[Part, Future[None]]] = deque()
    for number, records in enumerate(_groups(reader.records(), PART_RECORDS)):
        file = folder / f"{number:06}.arrow"
        known = [record.read for record in records if isinstance(record, Record)]
        part = Part(file, max(known, default=reader.size))
        pending.append((part, _done() if is_whole_arrow(file) else submit(name, file, records)))
        if len(pending) > ahead:
            yield _finished(*pending.popleft())
    while pending:
        yield _finished(*pending.popleft())


def rejected(part: Part) -> list[Rejected]:
    """Reads the records of a part without a sample."""
    return [Rejected(*item) for item in _metadata(part, _REJECTED)]


def left_out(part: Part) -> "Counter[str]":
    """Reads the number of samples of a part that were left out on purpose, by reason."""
    return Counter(_metadata(part, _LEFT_OUT))


def _metadata(part: Part, key: bytes) -> Json:
    with pa.memory_map(str(part.file)) as source:
        metadata = pa.ipc.open_stream(source).schema.metadata
    return loads(metadata[key].decode())


def write_part(reader: Reader, file: Path, records: Sequence[Record | Rejected]) -> None:
    """Renders records and writes them as one part."""
    bad: list[Rejected] = []
    omitted: Counter[str] = Counter()
    rows: list[dict[str, str | bytes]] = []
    for record in records:
        rendered = render(reader, record)
        if isinstance(rendered, Rejected):
            bad.append(rendered)
            continue
        for sample in rendered:
            if isinstance(sample, LeftOut):
                omitted[sample.reason] += 1
            else:
                rows.append(sample.as_dict() | {DIGEST: _digest(sample)})
    reasons = dumps([[item.where, item.reason] for item in bad])
    schema = _SCHEMA.with_metadata({_REJECTED: reasons, _LEFT_OUT: dumps(dict(omitted))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    write_bytes(file, sink.getvalue().to_pybytes())


_readers: Mapping[str, Reader] = {}
"""The arguments with which a rendering process was started."""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Defers Ctrl-C. Processes that are started meanwhile ignore it, and leave it to this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep_readers(readers: Mapping[str, Reader], parent: int) -> None:
    global _readers
    end_with_parent(parent)
    _readers = readers


def _write_part_of(name: str, file: Path, records: Sequence[Record | Rejected]) -> None:
    write_part(_readers[name], file, records)


def _done() -> "Future[None]":
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _finished(part: Part, written: "Future[None]") -> Part:
    try:
        written.result()
    except OSError as error:
        raise CoalmError(f"{part.file}: cannot be written: {error}") from error
    return part


def _digest(sample: Sample) -> bytes:
    text = "\0".join((sample.instruction, sample.input, sample.output))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _groups(items: Iterable[Record | Rejected], size: int) -> Iterator[Sequence[Record | Rejected]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group
