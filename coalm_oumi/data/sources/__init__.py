"""Raw files to samples: one module per source, which holds its reader and its typed options.

May import `data.cra` and the rooms below `data`.
"""

from coalm_oumi.data.sources.reader import (
    LeftOut,
    NoOptions,
    Reader,
    Record,
    RecordError,
    Rejected,
    Source,
    SourcePath,
    read,
    render,
)
from coalm_oumi.data.sources.registry import domain_of, find_source, open_source, source_names

__all__ = [
    "LeftOut",
    "NoOptions",
    "Reader",
    "Record",
    "RecordError",
    "Rejected",
    "Source",
    "SourcePath",
    "alpaca",
    "domain_of",
    "find_source",
    "open_source",
    "read",
    "registry",
    "render",
    "source_names",
    "tools",
]
