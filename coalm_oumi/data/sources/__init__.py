"""Raw source files to samples: one module a source, one reader each."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Domain
from coalm_oumi.data.sources import hammer, sgd, snips, toolace
from coalm_oumi.data.sources.reader import LeftOut, Reader, Record, Rejected, read, render

__all__ = [
    "SOURCES",
    "LeftOut",
    "Reader",
    "Record",
    "Rejected",
    "Source",
    "open_source",
    "read",
    "render",
]


@dataclass(frozen=True, slots=True)
class Source:
    """A raw data set that becomes part of CoALM-IT.

    Attributes:
        domain: The skill that its samples train.
        reader: Opens its raw file or folder. Keyword arguments are the source's own options.
    """

    domain: Domain
    reader: Callable[..., Reader]


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
    "snips": Source("tod", snips.Snips),
    "hammer": Source("la", hammer.Hammer),
    "toolace": Source("la", toolace.ToolAce),
    "sgd": Source("cra", sgd.Sgd),
}
"""The sources of Table 1, by name."""


def open_source(name: str, path: Path, options: Mapping[str, Any]) -> Reader:
    """Opens a source by name.

    Args:
        name: One of `SOURCES`.
        path: Its raw file or folder.
        options: The reader's own options, as a recipe gives them.

    Raises:
        CoalmError: The source has no such option, or it has the wrong type; else as the reader.
    """
    reader = SOURCES[name].reader
    known = [key for key in inspect.signature(reader).parameters if key != "path"]
    for key, value in options.items():
        if key not in known:
            raise CoalmError(
                f"source {name}: unknown option `{key}`; "
                + (f"the options are {', '.join(known)}" if known else "it has none")
            )
        expected = _OPTION_TYPES[key]
        if not isinstance(value, expected) or isinstance(value, bool):
            raise CoalmError(f"source {name}: option `{key}`: {value!r} is of the wrong type")
    return reader(path, **options)
