"""The parts of a source: typed options, and a reader that renders raw records into samples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Domain, LeftOut, Sample
from coalm_oumi.files.resources import resolve


def _resolved(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"expected the path of a file, found {value!r}")
    return resolve(value) if isinstance(value, str) else value


SourcePath = Annotated[Path, BeforeValidator(_resolved)]
"""The type of an option that names a file. `samples:` and `hub:` paths are resolved."""


class NoOptions(Options):
    """The options of a source that has none."""


@dataclass(frozen=True, slots=True)
class Record:
    """One raw record, as in a source's file.

    Attributes:
        where: The file and the record's place in it.
        key: Names the record within its source, the same on every machine.
        content: The record.
        read: How many bytes of the source were read up to its end, for a progress bar.
    """

    where: str
    key: str
    content: Json
    read: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A raw record without a sample.

    Attributes:
        where: The file and the record's place in it.
        reason: What is wrong with it.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        """Writes both on one line."""
        return f"{self.where}: {self.reason}"


class RecordError(CoalmError):
    """A raw record that does not have its source's form. It becomes a `Rejected`."""


class Reader(Protocol):
    """One source, opened. It is pickled into the processes that render its records.

    Attributes:
        size: How many bytes its raw files have.
    """

    size: int

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the raw records, holding those of at most one file at a time.

        Raises:
            CoalmError: A file is not of the source's shape.
        """
        ...

    def samples(self, record: Record) -> Sequence[Sample | LeftOut]:
        """Renders one record. Pure: the same record gives the same samples.

        Raises:
            CoalmError: The record does not have the source's form.
        """
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of raw data that `coalm build` and the dataset classes can read.

    A module offers its source as the constant `SOURCE`, which `registry` finds.

    Attributes:
        domain: The skill that its samples train.
        reader: Opens its raw file or folder with options of the type `options`.
        options: The source's own options.
    """

    domain: Domain
    reader: Callable[[Path, Any], Reader]
    options: type[Options] = NoOptions


def render(reader: Reader, record: Record | Rejected) -> Sequence[Sample | LeftOut] | Rejected:
    """Renders one record, or returns the reason why it gives no sample."""
    if isinstance(record, Rejected):
        return record
    try:
        samples = reader.samples(record)
        for sample in samples:
            if isinstance(sample, Sample):
                "".join(sample.as_dict().values()).encode()
    except CoalmError as error:
        return Rejected(record.where, str(error))
    except RecursionError:
        return Rejected(record.where, "nested too deeply")
    except UnicodeEncodeError:
        return Rejected(record.where, "holds half of a surrogate pair, which is not text")
    return samples


def read(reader: Reader) -> Iterator[Sample | Rejected]:
    """Yields all samples of a source in order, and the records without a sample."""
    for record in reader.records():
        rendered = render(reader, record)
        if isinstance(rendered, Rejected):
            yield rendered
        else:
            yield from (sample for sample in rendered if isinstance(sample, Sample))
