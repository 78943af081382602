"""Raw source files to samples: one module a source, one generator each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from coalm_oumi.sample import Domain, Sample
from coalm_oumi.sources import hammer, sgd, snips, toolace
from coalm_oumi.sources.rejected import Rejected

__all__ = ["SOURCES", "Rejected", "Source"]


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


SOURCES: Mapping[str, Source] = {
    "snips": Source("tod", snips.read),
    "hammer": Source("la", hammer.read),
    "toolace": Source("la", toolace.read),
    "sgd": Source("cra", sgd.read),
}
"""The sources of Table 1, by name."""
