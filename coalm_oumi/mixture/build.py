"""Builds CoALM-IT from raw sources: read, split by dialogue, interleave, write."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from coalm_oumi import __version__, prompts
from coalm_oumi.errors import CoalmError
from coalm_oumi.files import write_text
from coalm_oumi.jsontext import Json, write_json
from coalm_oumi.mixture.config import BuildConfig, SourceConfig
from coalm_oumi.mixture.select import in_validation
from coalm_oumi.mixture.store import CARD, MANIFEST, SPLITS, clear, write_shard
from coalm_oumi.paths import SAMPLES, resolve
from coalm_oumi.prompts import templates
from coalm_oumi.sample import Sample, deduplicated
from coalm_oumi.sources import SOURCES, Rejected, gather, read_source


def build(config: BuildConfig) -> Path:
    """Builds a mixture.

    Args:
        config: What to build.

    Returns:
        The folder written: `<split>-00000.parquet` for each split, `README.md`, a card for the
        hub, and `manifest.json`, last. The shards of an earlier build there are removed.

    Raises:
        CoalmError: A source cannot be read, a record is bad in strict mode, a split is empty, or
            the folder cannot be written.
    """
    output = Path(config.output_dir)
    if output.exists() and not output.is_dir():
        raise CoalmError(f"{output}: is a file; set output_dir to a folder")
    by_split: dict[str, dict[str, list[Sample]]] = {split: {} for split in SPLITS}
    fraction, seed = config.validation_fraction, config.seed
    rejected: dict[str, list[Rejected]] = {}
    duplicates: dict[str, int] = {}
    for name, source in config.sources.items():
        if SOURCES[name].domain in config.without:
            continue
        found, rejected[name] = _read(name, source, config)
        samples = deduplicated(found)
        duplicates[name] = len(found) - len(samples)
        for groups in by_split.values():
            groups[name] = []
        for sample in samples:
            held_out = in_validation(sample.dialogue_id, fraction=fraction, seed=seed)
            by_split["validation" if held_out else "train"][name].append(sample)
    rows = {
        split: interleave(list(groups.values()), seed=seed) for split, groups in by_split.items()
    }
    for split, merged in rows.items():
        if not merged and (split == "train" or fraction > 0):
            raise CoalmError(f"{output}: the {split} split would be empty; take more dialogues")
    write_mixture(output, rows, _manifest(config, by_split, rejected, duplicates))
    return output


def write_mixture(
    folder: Path, splits: Mapping[str, Sequence[Sample]], manifest: Mapping[str, Json]
) -> None:
    """Writes a mixture in the place of one that a build wrote before.

    Args:
        folder: Where to write: a shard for each split that is not empty, `README.md`, and
            `manifest.json` last, so that a folder without it is known to be unfinished.
        splits: The samples of each split.
        manifest: What the manifest says, but for the shards.

    Raises:
        CoalmError: The folder cannot be written, or holds something else.
    """
    shards = {split: [f"{split}-00000.parquet"] for split, samples in splits.items() if samples}
    record = {**manifest, "shards": shards}
    try:
        clear(folder)
        for split, (name,) in shards.items():
            write_shard(folder / name, splits[split])
        write_text(folder / CARD, _card(record))
        write_json(folder / MANIFEST, record)
    except OSError as error:
        raise CoalmError(f"{folder}: cannot be written: {error}") from error


def interleave(groups: Sequence[Sequence[Sample]], *, seed: int) -> list[Sample]:
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


def _read(
    name: str, source: SourceConfig, config: BuildConfig
) -> tuple[list[Sample], list[Rejected]]:
    options = {
        key: resolve(value) if isinstance(value, str) and value.startswith(SAMPLES) else value
        for key, value in source.options.items()
    }
    items = read_source(name, resolve(source.path), options)
    samples, rejected = gather(tqdm(items, desc=name, unit=" samples"), strict=config.strict)
    if not samples:
        first = f", the first: {rejected[0]}" if rejected else ""
        raise CoalmError(f"{source.path}: no sample from {len(rejected)} bad records{first}")
    if source.limit is None:
        return samples, rejected
    dialogues = list(dict.fromkeys(sample.dialogue_id for sample in samples))
    chosen = set(random.Random(config.seed).sample(dialogues, min(source.limit, len(dialogues))))
    return [sample for sample in samples if sample.dialogue_id in chosen], rejected


def _card(manifest: Mapping[str, Json]) -> str:
    samples = manifest["samples"]
    return (
        templates(Path(__file__).parent)
        .get_template("card.jinja")
        .render(
            version=manifest["coalm_oumi"],
            shards=manifest["shards"],
            rows=[
                {
                    "name": name,
                    "domain": SOURCES[name].domain,
                    "counts": [samples[split][name] for split in manifest["shards"]],
                    "rejected": len(manifest["rejected"][name]),
                    "duplicates": manifest["duplicates"][name],
                }
                for name in samples["train"]
            ],
        )
    )


def _manifest(
    config: BuildConfig,
    by_split: Mapping[str, Mapping[str, Sequence[Sample]]],
    rejected: Mapping[str, Sequence[Rejected]],
    duplicates: Mapping[str, int],
) -> Json:
    return {
        "coalm_oumi": __version__,
        "config": asdict(config),
        "samples": {
            split: {name: len(samples) for name, samples in groups.items()}
            for split, groups in by_split.items()
        },
        "domains": {
            split: dict(Counter(s.domain for samples in groups.values() for s in samples))
            for split, groups in by_split.items()
        },
        "rejected": {
            name: [{"where": item.where, "reason": item.reason} for item in items]
            for name, items in rejected.items()
        },
        "duplicates": dict(duplicates),
        "prompts": prompts.fingerprint(),
    }
