"""`coalm stats`: Table 1 of a mixture, counted with a tokenizer, beside the paper's."""
# pyright: standard

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from coalm_oumi.core import paper
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.sample import TEXT_COLUMNS
from coalm_oumi.data.mixture.marks import with_origin
from coalm_oumi.data.mixture.store import read_all
from coalm_oumi.files.atomic import write_bytes
from coalm_oumi.files.jsontext import write_json
from coalm_oumi.rendering import terminal

PUBLISHED_SAMPLES = {"snips": 13_084, "hammer": 202_500, "toolace": 13_819, "sgd": 82_236}
"""The samples of the published mixture according to its card on the Hub: 311,639 in all.

Table 1 prints 13,028 for SNIPS, whose standard training split has 13,084 utterances.
"""

NOTES = {
    "snips": (
        "SNIPS cannot average Table 1's 942 tokens: every sample is Figure 4's instruction, which "
        "is nearly all of it, with one utterance and its state. That makes 379 tokens for the "
        "figure's own sample."
    ),
    "sgd": (
        "SGD's average depends on how many results an observation keeps (`max_results`), on the "
        "functions' signatures, and on the thoughts."
    ),
}
"""Explanations of differences from Table 1, by source."""


@dataclass(frozen=True, slots=True)
class SourceStats:
    """One row of Table 1.

    Attributes:
        source: The source, or `total`.
        samples: The number of samples.
        tokens: The number of tokens of all instructions, inputs and outputs.
        over_window: The share of samples over the context window, in [0, 1]. The chat template adds
            a few tokens to each, which are not counted here.
    """

    source: str
    samples: int
    tokens: int
    over_window: float

    @property
    def tokens_per_sample(self) -> float:
        """The mean length in tokens."""
        return self.tokens / self.samples


def count_tokens(path: Path, tokenizer: Any, *, workers: int = 1) -> dict[str, np.ndarray]:
    """Counts the tokens of every sample of a mixture, all splits together.

    Args:
        path: The mixture's folder or file.
        tokenizer: A Transformers tokenizer.
        workers: The number of processes.

    Returns:
        For each source, the length of each of its samples in tokens.

    Raises:
        CoalmError: There is no such mixture, or it has no column `source`.
    """
    table = with_origin(read_all(path), str(path))
    if "source" not in table.column_names:
        raise CoalmError(
            f"{path}: no column `source` to count by; build the mixture with `coalm build`"
        )
    lengths = table.map(
        _lengths,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        remove_columns=[name for name in table.column_names if name != "source"],
        num_proc=workers if workers > 1 else None,
        desc="Counting tokens",
    )
    columns: Mapping[str, np.ndarray] = lengths.with_format("numpy")[:]
    return {
        str(source): columns["length"][columns["source"] == source]
        for source in dict.fromkeys(columns["source"])
    }


def summarize(lengths: Mapping[str, np.ndarray], *, window: int) -> list[SourceStats]:
    """Makes the rows of Table 1, the total last."""
    groups = {**lengths, "total": np.concatenate(list(lengths.values()))}
    return [
        SourceStats(name, len(counts), int(counts.sum()), float((counts > window).mean()))
        for name, counts in groups.items()
    ]


def paper_table() -> Mapping[str, Mapping[str, Any]]:
    """Returns the rows of the paper's Table 1, by source."""
    return paper.read()["table_1"]["rows"]


def paper_total() -> dict[str, int]:
    """Returns the samples and tokens of Table 1, all sources together."""
    rows = paper_table().values()
    return {key: sum(row[key] for row in rows) for key in ("samples", "tokens")}


def as_table(rows: Sequence[SourceStats], *, window: int) -> Table:
    """Makes a terminal table of the rows, beside the paper's."""
    of_paper = {**paper_table(), "total": paper_total()}
    made = terminal.table(
        *("source", "samples", "paper", "tokens", "paper", "tokens/sample", "paper"),
        f"over {window}",
    )
    for row in rows:
        samples = tokens = mean = ""
        if known := of_paper.get(row.source):
            samples, tokens = f"{known['samples']:,}", f"{known['tokens']:,}"
            mean = f"{known['tokens'] / known['samples']:.1f}"
        made.add_row(
            *(row.source, f"{row.samples:,}", samples, f"{row.tokens:,}", tokens),
            *(f"{row.tokens_per_sample:.1f}", mean, f"{row.over_window:.2%}"),
        )
    return made


def write(
    folder: Path, lengths: Mapping[str, np.ndarray], rows: Sequence[SourceStats], *, window: int
) -> Sequence[Path]:
    """Writes the rows as JSON and the histogram of lengths as PNG.

    Returns:
        The files written.
    """
    record: Json = [{**asdict(row), "tokens_per_sample": row.tokens_per_sample} for row in rows]
    edges = _edges(lengths)
    counts = {name: np.histogram(found, edges)[0].tolist() for name, found in lengths.items()}
    write_json(
        folder / "stats.json",
        {
            "window": window,
            "sources": record,
            "paper": paper_table(),
            "histogram": {"edges": edges.tolist(), "samples": counts},
        },
    )
    write_bytes(folder / "stats.png", _histogram(lengths, window))
    return [folder / "stats.json", folder / "stats.png"]


def remarks(rows: Sequence[SourceStats]) -> list[str]:
    """Explains, in sentences, the averages that are more than 10% from Table 1's."""
    said: list[str] = []
    for row in rows:
        known = paper_table().get(row.source)
        if known is None or row.source not in NOTES:
            continue
        mean = known["tokens"] / known["samples"]
        if abs(row.tokens_per_sample - mean) > 0.1 * mean:
            said.append(NOTES[row.source])
    return said


def _lengths(batch: Mapping[str, list[str]], tokenizer: Any) -> dict[str, list[int]]:
    columns = [batch[name] for name in TEXT_COLUMNS]
    texts = ["\n".join(parts) for parts in zip(*columns, strict=True)]
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return {"length": [len(row) for row in ids]}


def _edges(lengths: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.linspace(0, max(int(counts.max()) for counts in lengths.values()), 60)


def _histogram(lengths: Mapping[str, np.ndarray], window: int) -> bytes:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    edges = _edges(lengths)
    axes.hist(list(lengths.values()), bins=edges, stacked=True, label=list(lengths))  # pyright: ignore
    axes.axvline(window, color="black", linestyle="--", linewidth=1, label=f"window: {window:,}")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    *_, total = summarize(lengths, window=window)
    title = f"Lengths of samples: {total.samples:,} samples, {total.tokens:,} tokens in total"
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("tokens per sample")
    axes.set_ylabel("samples")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
