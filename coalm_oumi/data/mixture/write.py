"""Writes a mixture: Parquet shards, a card for the Hub, and the manifest last."""
# pyright: standard

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import datasets
from tqdm import tqdm

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.data.mixture.store import CARD, FINDINGS, MANIFEST, SHARD, STAGING
from coalm_oumi.data.sources import domain_of
from coalm_oumi.files import hub
from coalm_oumi.files.atomic import write_bytes, write_page
from coalm_oumi.files.jsontext import read_json, write_json
from coalm_oumi.rendering.prompts import templates

SHARD_SAMPLES = 10_000


def check_output(folder: Path) -> None:
    """Checks that a build may write a folder.

    Raises:
        CoalmError: It is a file, or holds a manifest or a README that no build wrote.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CoalmError(f"{folder}: is a file; set output_dir to a folder")
    if (folder / MANIFEST).exists():
        manifest = read_json(folder / MANIFEST)
        ours = is_object(manifest) and "coalm_oumi" in manifest
    else:
        ours = bool(_built(folder)) or (folder / STAGING).exists()
    if not ours and any((folder / name).exists() for name in (MANIFEST, CARD)):
        raise CoalmError(f"{folder}: holds files of something else; set output_dir to a new folder")


def write_mixture(
    folder: Path,
    splits: Mapping[str, datasets.Dataset],
    manifest: Mapping[str, Json],
    *,
    key: str,
) -> None:
    """Writes a mixture, which replaces one that an earlier build wrote.

    The shards are staged first, and shards that a killed run staged under the same key are kept.
    Then the new mixture replaces the old one. The manifest is written last, so a folder without it
    is known to be unfinished.

    Args:
        folder: The folder for the shards of each split that is not empty, `README.md` and
            `manifest.json`.
        splits: The samples of each split.
        manifest: The content of the manifest, without the shards.
        key: Identifies the samples.

    Raises:
        CoalmError: The folder holds something else.
        OSError: It cannot be written.
    """
    check_output(folder)
    home = folder / STAGING / f"shards-{key}"
    for other in (folder / STAGING).glob("shards-*"):
        if other != home:
            shutil.rmtree(other)
    moving = home / "moving"  # where this is, the shards in `folder` are this mixture's
    shards = {split: _shard_names(split, table) for split, table in splits.items()}
    if not moving.exists():
        for split, table in splits.items():
            for number, name in enumerate(tqdm(shards[split], desc=f"{split} shards")):
                if not (home / name).exists():
                    start = number * SHARD_SAMPLES
                    rows = range(start, min(start + SHARD_SAMPLES, len(table)))
                    _write_shard(home / name, table.select(rows))
        for name in (MANIFEST, CARD, *FINDINGS):
            (folder / name).unlink(missing_ok=True)
        for file in _built(folder):
            file.unlink()
        moving.touch()
    names = [name for group in shards.values() for name in group]
    for name in names:
        if (home / name).exists():
            (home / name).rename(folder / name)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    record = {**manifest, "shards": shards, "sha256": digests}
    write_page(folder / CARD, _card(record))
    write_json(folder / MANIFEST, record)
    shutil.rmtree(home)


def push(folder: Path, repository: str) -> str:
    """Pushes the files that a build wrote, and no others, to the Hugging Face Hub.

    Raises:
        CoalmError: The Hub refuses it or cannot be reached.
    """
    shards = read_json(folder / MANIFEST)["shards"]
    names = [name for group in shards.values() for name in group]
    return hub.push(
        folder,
        repository,
        kind="dataset",
        files=[CARD, MANIFEST, *FINDINGS, *names],
        stale=["*.parquet"],  # the shards of a larger mixture that was pushed before
        message="CoALM-IT, built with coalm-oumi",
    )


def _shard_names(split: str, table: datasets.Dataset) -> list[str]:
    return [f"{split}-{number:05}.parquet" for number in range(-(-len(table) // SHARD_SAMPLES))]


def _write_shard(file: Path, table: datasets.Dataset) -> None:
    """Writes samples as one Parquet file, atomically."""
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    write_bytes(file, buffer.getvalue())


def _built(folder: Path) -> list[Path]:
    """Finds the shards that a build wrote into a folder."""
    return [file for file in folder.iterdir() if SHARD.fullmatch(file.name.lstrip("."))]


def _card(manifest: Mapping[str, Json]) -> str:
    sources, shards = manifest["config"]["sources"], manifest["shards"]
    rows: list[dict[str, Json]] = []
    for name in manifest["samples"]["train"]:
        row = {
            "name": name,
            "domain": domain_of(name, sources[name]["options"]),
            "counts": [manifest["samples"][split][name] for split in shards],
            "rejected": len(manifest["rejected"][name]),
            "duplicates": manifest["duplicates"][name],
        }
        rows.append(row)
    template = templates(Path(__file__).parent).get_template("card.jinja")
    return template.render(version=manifest["coalm_oumi"], shards=shards, rows=rows)
