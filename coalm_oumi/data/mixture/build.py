"""Builds CoALM-IT from raw sources: render, split by dialogue, interleave, write.

Each step leaves its result in `<output_dir>/.build`, so that a killed build resumes where it
stopped. The previous mixture stays in place until the new one is complete.
"""
# pyright: standard

import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from coalm_oumi import __version__
from coalm_oumi.core.digest import digest, digest_of_text
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.sample import COLUMNS, first_sayings
from coalm_oumi.data.mixture import parts
from coalm_oumi.data.mixture.config import BuildConfig, SourceConfig
from coalm_oumi.data.mixture.parts import DIGEST
from coalm_oumi.data.mixture.select import column, in_validation
from coalm_oumi.data.mixture.store import SPLITS, STAGING
from coalm_oumi.data.mixture.write import check_output, write_mixture
from coalm_oumi.data.sources import Reader, Rejected, domain_of, open_source, registry
from coalm_oumi.files.resources import resolve
from coalm_oumi.rendering import prompts

VERSION = 2
"""Raise it when the same raw files, options and prompts give different samples."""


def build(config: BuildConfig, *, workers: int = 1) -> Path:
    """Builds a mixture, or resumes a killed build of the same configuration.

    Args:
        config: The configuration.
        workers: The number of rendering processes. The result does not depend on it.

    Returns:
        The folder of the mixture: shards of each split, `README.md` (a card for the Hub), and
        `manifest.json`, which is written last. An earlier build there is replaced.

    Raises:
        CoalmError: There is no worker, a source cannot be read, a record is bad in strict mode, a
            split is empty, or the folder cannot be written.
    """
    if workers < 1:
        raise CoalmError(f"--workers {workers}: must be 1 or more")
    output = Path(config.output_dir)
    check_output(output)
    chosen = {
        name: source
        for name, source in config.sources.items()
        if domain_of(name, source.options) not in config.without
    }
    opened: dict[str, list[Reader]] = {}
    for name, source in chosen.items():
        opened[name] = [open_source(name, resolve(path), source.options) for path in source.path]
    staging = output / STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(staging / "lock", blocking=False):
            fingerprint = _fingerprint(chosen)
            rendered = _render(opened, staging / f"parts-{fingerprint}", config, workers)
            plan = _plan(rendered, config)
            table = rendered.table.select_columns(list(COLUMNS))
            write_mixture(
                output,
                {split: table.select(rows) for split, rows in plan.rows.items() if rows},
                _manifest(config, rendered, plan),
                key=digest_of_text(f"{fingerprint}{plan.rows}"),
            )
            shutil.rmtree(staging)
    except Timeout as error:
        raise CoalmError(f"{output}: another build is writing this folder") from error
    except OSError as error:
        raise CoalmError(f"{output}: cannot be written: {error}") from error
    return output


def interleave(groups: Sequence[Sequence[int]], *, seed: int) -> list[int]:
    """Merges groups so that every window of the result holds each in its share (section 4.2).

    Each group is shuffled and spread evenly over the whole, at a random offset.
    """
    random_ = random.Random(seed)
    placed: list[tuple[float, int, int]] = []
    for number, group in enumerate(groups):
        order = list(range(len(group)))
        random_.shuffle(order)
        offset = random_.random()
        placed += [((rank + offset) / len(order), number, i) for rank, i in enumerate(order)]
    return [groups[number][i] for _, number, i in sorted(placed)]


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Every sample of the sources.

    Attributes:
        table: The samples with their digests, source after source, memory-mapped.
        rows: Which rows each source has.
        rejected: The records without a sample, by source.
        left_out: The number of samples that each source left out on purpose, by reason.
    """

    table: datasets.Dataset
    rows: Mapping[str, range]
    rejected: Mapping[str, Sequence[Rejected]]
    left_out: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The rows of each split.

    Attributes:
        rows: The rows of each split, in order.
        counts: The number of samples of each source in each split.
        duplicates: The number of samples of each source that were dropped as duplicates.
        left_out: The number of samples of each source that the configuration leaves out, by reason.
    """

    rows: Mapping[str, list[int]]
    counts: Mapping[str, Mapping[str, int]]
    duplicates: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, int]]


def _render(
    opened: Mapping[str, Sequence[Reader]], home: Path, config: BuildConfig, workers: int
) -> _Rendered:
    """Renders every source into parts in the folder `home`, and opens them as one table."""
    for other in home.parent.glob("parts-*"):
        if other != home:
            shutil.rmtree(other)
    readers = {f"{name}-{n}": r for name, group in opened.items() for n, r in enumerate(group)}
    tables: list[datasets.Dataset] = []
    rows: dict[str, range] = {}
    rejected: dict[str, list[Rejected]] = {}
    left_out: dict[str, Counter[str]] = {}
    with ExitStack() as stack:
        submit = stack.enter_context(parts.renderer(readers, workers=workers))
        total = sum(reader.size for reader in readers.values())
        bar = stack.enter_context(tqdm(total=total, unit="B", unit_scale=True))
        before = count = 0
        for name, group in opened.items():
            bar.set_description(name)
            rejected[name] = []
            left_out[name] = Counter()
            start = count
            for number, reader in enumerate(group):
                key = f"{name}-{number}"
                for part in parts.parts(key, reader, home / key, submit, ahead=4 * workers):
                    found = parts.rejected(part)
                    if found and config.strict:
                        raise CoalmError(str(found[0]))
                    rejected[name] += found
                    left_out[name] += parts.left_out(part)
                    tables.append(datasets.Dataset.from_file(str(part.file)))
                    count += len(tables[-1])
                    bar.update(before + part.read - bar.n)
                before += reader.size
                bar.update(before - bar.n)
            rows[name] = range(start, count)
            if start == count:
                bad = rejected[name]
                first = f", the first: {bad[0]}" if bad else ""
                paths = ", ".join(config.sources[name].path)
                raise CoalmError(f"{paths}: no record gave a sample; {len(bad)} are bad{first}")
    return _Rendered(datasets.concatenate_datasets(tables), rows, rejected, left_out)


def _plan(rendered: _Rendered, config: BuildConfig) -> _Plan:
    """Chooses, for every split, which samples it holds and in which order."""
    fraction, seed = config.validation_fraction, config.seed
    groups: dict[str, dict[str, list[int]]] = {split: {} for split in SPLITS}
    duplicates: dict[str, int] = {}
    left_out: dict[str, dict[str, int]] = {}
    for name, rows in rendered.rows.items():
        table = rendered.table.select(rows)
        dialogues, digests = (column(table, key, name) for key in ("dialogue_id", DIGEST))
        source = config.sources[name]
        limited = _limit(dialogues, source.limit, seed)
        is_first = first_sayings((digests[row], dialogues[row]) for row in limited)
        distinct = [row for row, keep in zip(limited, is_first, strict=True) if keep]
        chosen_rows = _at_most(dialogues, distinct, source.max_samples, seed)
        duplicates[name] = len(limited) - len(distinct)
        left_out[name] = {
            "beyond `limit`": len(rows) - len(limited),
            "beyond `max_samples`": len(distinct) - len(chosen_rows),
        }
        for split in SPLITS:
            groups[split][name] = []
        for row in chosen_rows:
            held_out = in_validation(dialogues[row], fraction=fraction, seed=seed)
            groups["validation" if held_out else "train"][name].append(rows[row])
    for split, chosen in groups.items():
        if not any(chosen.values()) and (split == "train" or fraction > 0):
            raise CoalmError(
                f"{config.output_dir}: the {split} split would be empty with validation_fraction="
                f"{fraction:g} and so few samples. Use more dialogues, set another "
                "validation_fraction, or set validation_fraction=0 to hold none out"
            )
    return _Plan(
        rows={s: interleave(list(chosen.values()), seed=seed) for s, chosen in groups.items()},
        counts={s: {name: len(g) for name, g in chosen.items()} for s, chosen in groups.items()},
        duplicates=duplicates,
        left_out=left_out,
    )


def _limit(dialogues: np.ndarray, limit: int | None, seed: int) -> Sequence[int]:
    """Returns the rows of a seeded choice of dialogues."""
    if limit is None:
        return range(len(dialogues))
    names = list(dict.fromkeys(dialogues))
    chosen = set(random.Random(seed).sample(names, min(limit, len(names))))
    return [row for row, name in enumerate(dialogues) if name in chosen]


def _at_most(
    dialogues: np.ndarray, rows: Sequence[int], most: int | None, seed: int
) -> Sequence[int]:
    """Returns the rows of a seeded choice of whole dialogues with this many samples in all.

    The dialogues are taken in a shuffled order, each if it still fits.
    """
    if most is None or len(rows) <= most:
        return rows
    sizes = Counter(dialogues[row] for row in rows)
    names = list(sizes)
    random.Random(seed).shuffle(names)
    chosen: set[str] = set()
    total = 0
    for name in names:
        if total + sizes[name] <= most:
            chosen.add(name)
            total += sizes[name]
    return [row for row in rows if dialogues[row] in chosen]


def _fingerprint(sources: Mapping[str, SourceConfig]) -> str:
    """Names what the parts depend on: raw files, options, prompts and the code that reads them."""
    raw: list[Json] = []
    for name, source in sources.items():
        paths = [resolve(file) for file in source.path]
        for path in (*paths, *registry.option_files(name, source.options)):
            files = sorted([*path.iterdir(), *path.glob("data/*")]) if path.is_dir() else [path]
            stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
            raw.append([name, str(path.resolve()), source.options, stats])
    code = [VERSION, *(registry.code_hash(name) for name in sources)]
    return digest([raw, prompts.fingerprint(), code])


def _manifest(config: BuildConfig, rendered: _Rendered, plan: _Plan) -> Json:
    domains: dict[str, Counter[str]] = {}
    for split, counts in plan.counts.items():
        domains[split] = Counter()
        for name, count in counts.items():
            if count:
                domains[split][domain_of(name, config.sources[name].options)] += count
    rejected: dict[str, list[Json]] = {}
    left_out: dict[str, dict[str, int]] = {}
    for name, items in rendered.rejected.items():
        rejected[name] = [asdict(item) for item in items]
        reasons = {**rendered.left_out[name], **plan.left_out[name]}
        left_out[name] = {reason: count for reason, count in reasons.items() if count}
    return {
        "coalm_oumi": __version__,
        "config": config.model_dump(),
        "samples": plan.counts,
        "domains": domains,
        "rejected": rejected,
        "left_out": left_out,
        "duplicates": plan.duplicates,
        "prompts": prompts.fingerprint(),
    }
