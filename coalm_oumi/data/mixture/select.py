"""Chooses the samples of a run from a table: split, domains, sources and weights."""
# pyright: standard

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import DOMAINS
from coalm_oumi.data.mixture.marks import UNKNOWN, with_origin
from coalm_oumi.data.mixture.store import check_split, read_column


def in_validation(dialogue_id: str, *, fraction: float, seed: int) -> bool:
    """Returns True if a dialogue is held out. All its samples are, or none.

    Args:
        dialogue_id: The dialogue.
        fraction: The share of dialogues held out, in [0, 1].
        seed: Another seed holds out others.
    """
    digest = hashlib.sha256(f"{seed}/{dialogue_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of a table that a run reads.

    Attributes:
        domains: The domains to keep; None keeps all.
        sources: The sources to keep; None keeps all.
        weights: How often each sample of a source occurs; 1 if not given.
        validation_fraction: The share of dialogues in `validation`.
        seed: The seed of the split and of fractional weights.
    """

    domains: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    validation_fraction: float = 0.0
    seed: int = 0


def select(
    table: datasets.Dataset, selection: Selection, *, place: str, split: str | None
) -> datasets.Dataset:
    """Selects rows without copying them.

    Args:
        table: Samples in columns.
        selection: The selection.
        place: Names the table in an error.
        split: `train` or `validation`, cut by dialogue; None if the table is one split already.

    Returns:
        The rows, in the table's order.

    Raises:
        CoalmError: An unknown domain, source or split, a column that is missing, or no row left.
    """
    domains, sources, weights = selection.domains, selection.sources, selection.weights
    if domains is not None or sources is not None or weights or selection.validation_fraction:
        table = with_origin(table, place)
    keep = np.ones(len(table), dtype=bool)
    if split is not None:
        keep &= _split_mask(table, place, split, selection)
    if domains is not None:
        for domain in domains:
            if domain not in DOMAINS:
                raise CoalmError(f"unknown domain `{domain}`; use some of {', '.join(DOMAINS)}")
        found = column(table, "domain", place)
        unknown = ~np.isin(found, [*DOMAINS, UNKNOWN])
        if unknown.any():
            row = int(unknown.argmax())
            raise CoalmError(
                f"{place}: record {row}: unknown domain `{found[row]}`; it must be one of "
                f"{', '.join(DOMAINS)}"
            )
        keep &= np.isin(found, list(domains))
    if sources is not None:
        keep &= np.isin(_known_sources(table, sources, place), list(sources))
    rows = np.flatnonzero(keep)
    if weights:
        rows = _weigh(rows, _known_sources(table, weights, place), weights, selection.seed)
    if not len(rows):
        raise CoalmError(
            f"{place}: no sample is left of {len(table)} (split {split}, domains {domains}, "
            f"sources {sources}, weights {dict(weights)}); loosen one of them"
        )
    return table.select(rows)


def _split_mask(
    table: datasets.Dataset, place: str, split: str, selection: Selection
) -> np.ndarray:
    check_split(split)
    fraction = selection.validation_fraction
    if not 0 <= fraction < 1:
        raise CoalmError(f"validation_fraction: {fraction} is not in [0, 1)")
    if fraction == 0:
        if split == "validation":
            raise CoalmError(
                f"{place}: this data has no validation split; set validation_fraction, "
                "the same for training and validation"
            )
        return np.ones(len(table), dtype=bool)
    ids, seed = _dialogue_ids(table, place), selection.seed
    held_out = np.array([in_validation(name, fraction=fraction, seed=seed) for name in ids], bool)
    return held_out if split == "validation" else ~held_out


def _dialogue_ids(table: datasets.Dataset, place: str) -> Iterable[str]:
    """Returns the name of each row's dialogue; if there is no such column, the row's prompt.

    So if your own data repeats a prompt, it is held out with all its answers, or with none.
    """
    if "dialogue_id" in table.column_names:
        return column(table, "dialogue_id", place)
    prompts = (column(table, name, place) for name in ("instruction", "input"))
    return ["\n".join(pair) for pair in zip(*prompts, strict=True)]


def _known_sources(
    table: datasets.Dataset, named: Sequence[str] | Mapping[str, float], place: str
) -> np.ndarray:
    found = column(table, "source", place)
    for source in named:
        if source not in found:
            raise CoalmError(
                f"{place}: no sample of source `{source}`; it has "
                f"{', '.join(sorted(np.unique(found)))}"
            )
    return found


def _weigh(
    rows: np.ndarray, found: np.ndarray, weights: Mapping[str, float], seed: int
) -> np.ndarray:
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            raise CoalmError(f"weights: {source}: {weight!r} is not a number from 0 up")
    weight = np.array([weights.get(str(source), 1.0) for source in found[rows]])
    times = np.floor(weight).astype(int)
    times += np.random.default_rng(seed).random(len(rows)) < weight - times
    return np.repeat(rows, times)


def column(table: datasets.Dataset, name: str, place: str) -> np.ndarray:
    """Reads one column as an array of objects, and no other column.

    Raises:
        CoalmError: There is no such column.
    """
    if name not in table.column_names:
        raise CoalmError(
            f"{place}: no column `{name}`, so samples cannot be chosen by it; "
            "build the mixture with `coalm build`"
        )
    return read_column(table, name).to_numpy()
