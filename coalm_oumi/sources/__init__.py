"""Raw source files to samples: one module a source, one generator each."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coalm_oumi.errors import CoalmError
from coalm_oumi.sample import Domain, Sample
from coalm_oumi.sources import hammer, sgd, snips, toolace
from coalm_oumi.sources.rejected import Rejected

__all__ = ["SOURCES", "Rejected", "Source", "gather", "read_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A raw data set that becomes part of CoALM-IT.

    Attributes:
        domain: The skill that its samples train.
        read: Yields the samples of a file or folder, and what could not be read. Keyword
            arguments are the source's own options.
    """

    domain: Domain
    read: Callable[..., Iterator[Sample | Rejected]]


_OPTION_TYPES: Mapping[str, Any] = {
    "intents": list,
    "copies": int,
    "masking": int | float,
    "seed": int,
    "transcripts": str | Path | None,
    "functions": str,
    "max_results": int | None,
}

SOURCES: Mapping[str, Source] = {
    "snips": Source("tod", snips.read),
    "hammer": Source("la", hammer.read),
    "toolace": Source("la", toolace.read),
    "sgd": Source("cra", sgd.read),
}
"""The sources of Table 1, by name."""


def read_source(name: str, path: Path, options: Mapping[str, Any]) -> Iterator[Sample | Rejected]:
    """Reads a source by name.

    Args:
        name: One of `SOURCES`.
        path: Its raw file or folder.
        options: The reader's own options, as a recipe gives them.

    Raises:
        CoalmError: The source has no such option, or it has the wrong type; else as the reader.
    """
    read = SOURCES[name].read
    known = [key for key in inspect.signature(read).parameters if key != "path"]
    for key, value in options.items():
        if key not in known:
            raise CoalmError(
                f"source {name}: unknown option `{key}`; "
                + (f"the options are {', '.join(known)}" if known else "it has none")
            )
        expected = _OPTION_TYPES[key]
        if not isinstance(value, expected) or isinstance(value, bool):
            raise CoalmError(f"source {name}: option `{key}`: {value!r} is of the wrong type")
    return read(path, **options)


def gather(
    items: Iterable[Sample | Rejected], *, strict: bool
) -> tuple[list[Sample], list[Rejected]]:
    """Sorts what a source yields into samples and rejected records.

    Args:
        items: What `read_source` yields.
        strict: Stop at the first rejected record.

    Raises:
        CoalmError: A record was rejected, in strict mode.
    """
    samples: list[Sample] = []
    rejected: list[Rejected] = []
    for item in items:
        if isinstance(item, Sample):
            samples.append(item)
        elif strict:
            raise CoalmError(str(item))
        else:
            rejected.append(item)
    return samples, rejected
