import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

from coalm_oumi.cli.app import main
from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample, deduplicated
from coalm_oumi.data.mixture import parts, write
from coalm_oumi.data.mixture.build import VERSION, build, interleave
from coalm_oumi.data.mixture.config import BuildConfig, SourceConfig, load_config
from coalm_oumi.data.mixture.select import Selection, in_validation, select
from coalm_oumi.data.mixture.store import read_samples, split_files
from coalm_oumi.files.resources import resource_dir
from tests.support.hub_server import hub

PATHS = {"hammer": "xlam"}


def sample(number: int, source: str = "snips", domain: str = "tod") -> Sample:
    return Sample("i", f"{number}", "o", source, domain, f"{source}/{number}")  # pyright: ignore


def table(count: int = 100) -> datasets.Dataset:
    rows = [sample(n, *(("snips", "tod") if n % 4 else ("sgd", "cra"))) for n in range(count)]
    return datasets.Dataset.from_list([row.as_dict() for row in rows])


def chosen(**changes) -> datasets.Dataset:
    split = changes.pop("split", None)
    return select(table(), Selection(**changes), place="here", split=split)


def test_every_window_holds_every_group():
    groups = [range(300), range(300, 400)]
    merged = interleave(groups, seed=1)
    assert sorted(merged) == list(range(400))
    for start in range(0, 400, 40):
        assert 9 <= sum(row >= 300 for row in merged[start : start + 40]) <= 11
    assert merged == interleave(groups, seed=1)
    assert merged != interleave(groups, seed=2)


def test_a_dialogue_is_held_out_whole(mixture: Path):
    ids = {
        split: {r["dialogue_id"] for r in pq.read_table(mixture / f"{split}-00000.parquet").to_pylist()}
        for split in ("train", "validation")
    }  # fmt: skip
    assert ids["train"] and ids["validation"]
    assert not ids["train"] & ids["validation"]


def test_the_version_of_a_build_rises_with_its_samples(tmp_path: Path):
    """A build reuses the parts of an earlier one with the same version."""
    sources = {
        name: SourceConfig(path=f"samples:{PATHS.get(name, name)}", limit=5)
        for name in ("snips", "hammer", "toolace", "sgd")
    }
    config = BuildConfig(output_dir=str(tmp_path), sources=sources, validation_fraction=0.0)
    rows = pq.read_table(build(config) / "train-00000.parquet").to_pylist()
    assert (VERSION, digest(rows)) == (2, "7a776310a54e"), (
        "the samples' bytes differ: raise build.VERSION, and put the new hash here"
    )


def test_the_held_out_share():
    held_out = sum(in_validation(str(n), fraction=0.2, seed=3) for n in range(10_000))
    assert 1_850 < held_out < 2_150


def test_the_same_build_is_the_same_file(tmp_path: Path, repo: Path):
    files = [
        build(load_config(repo / "recipes/data/demo.yaml", [f"output_dir={tmp_path / name}"]))
        / "train-00000.parquet"
        for name in ("one", "two")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_duplicates_of_another_dialogue_are_dropped():
    rows = [sample(1), sample(1, "sgd"), sample(2), sample(1)]
    kept = deduplicated(rows)
    assert [row.dialogue_id for row in kept] == ["snips/1", "snips/2", "snips/1"]


def test_a_source_is_cut_to_whole_dialogues(tmp_path: Path, repo: Path):
    def built(*changes: str) -> tuple[dict, Counter[str]]:
        options = [f"output_dir={tmp_path}", "without=[tod,la]", "sources.sgd.limit=null", *changes]
        folder = build(load_config(repo / "recipes/data/demo.yaml", options))
        rows = [row for file in folder.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
        manifest = json.loads((folder / "manifest.json").read_text())
        return manifest, Counter(row["dialogue_id"] for row in rows)

    _, whole = built()
    manifest, cut = built("sources.sgd.max_samples=100")
    assert 90 <= cut.total() <= 100
    assert all(whole[name] == count for name, count in cut.items())
    assert manifest["left_out"]["sgd"]["beyond `max_samples`"] == whole.total() - cut.total()
    _, again = built("sources.sgd.max_samples=100")
    _, other = built("sources.sgd.max_samples=100", "seed=1")
    assert again == cut != other


@pytest.mark.parametrize("domain", ["tod", "la", "cra"])
def test_ablations(tmp_path: Path, repo: Path, domain: str):
    changes = [f"output_dir={tmp_path}", f"without=[{domain}]"]
    folder = build(load_config(repo / "recipes/data/demo.yaml", changes))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["domains"]["train"]) == {"tod", "la", "cra"} - {domain}


def test_the_manifest_lists_counts_and_rejected_records(mixture: Path):
    manifest = json.loads((mixture / "manifest.json").read_text())
    assert set(manifest["samples"]["train"]) == {"snips", "hammer", "toolace", "sgd"}
    rows = pq.read_table(mixture / "train-00000.parquet").num_rows
    assert sum(manifest["samples"]["train"].values()) == rows
    assert sum(manifest["domains"]["train"].values()) == rows
    (broken,) = manifest["rejected"]["toolace"]
    assert broken["where"].endswith("data.json[17]")


def test_the_card_counts_what_the_manifest_counts(mixture: Path):
    head, _, body = (mixture / "README.md").read_text().removeprefix("---\n").partition("\n---\n")
    config = yaml.safe_load(head)["configs"][0]
    assert [part["path"] for part in config["data_files"]] == [
        "train-*.parquet", "validation-*.parquet",
    ]  # fmt: skip
    samples = json.loads((mixture / "manifest.json").read_text())["samples"]
    for name, domain, rejected in (("snips", "tod", 0), ("toolace", "la", 1)):
        counts = f"{samples['train'][name]} | {samples['validation'][name]}"
        assert f"| {name} | {domain} | {counts} | {rejected} | 0 |" in body


def test_strict_stops_at_the_first_bad_record(tmp_path: Path):
    config = BuildConfig(
        output_dir=str(tmp_path / "out"),
        sources={"toolace": SourceConfig(path="samples:toolace")},
        strict=True,
    )
    with pytest.raises(CoalmError, match=r"data.json\[17\]: turn 1"):
        build(config)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [".build"]


def test_a_build_replaces_the_one_before(tmp_path: Path, repo: Path):
    recipe, output = repo / "recipes/data/demo.yaml", f"output_dir={tmp_path}"
    (tmp_path / "notes.txt").write_text("mine")
    build(load_config(recipe, [output]))
    assert split_files(tmp_path, "validation")[1]
    build(load_config(recipe, [output, "validation_fraction=0"]))
    shards = [tmp_path / "train-00000.parquet"]
    assert split_files(tmp_path, "validation") == (shards, False), "to be cut from the training set"
    assert not (tmp_path / "validation-00000.parquet").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_impossible_build_leaves_the_one_before(tmp_path: Path, repo: Path):
    recipe, output = repo / "recipes/data/demo.yaml", f"output_dir={tmp_path}"
    build(load_config(recipe, [output]))
    before = (tmp_path / "train-00000.parquet").read_bytes()
    with pytest.raises(
        CoalmError, match=r"validation split would be empty.*set validation_fraction=0"
    ):
        build(load_config(recipe, [output, "validation_fraction=0.000001"]))
    assert (tmp_path / "train-00000.parquet").read_bytes() == before
    assert split_files(tmp_path, "validation")[1]


def test_a_build_that_did_not_finish_is_refused(tmp_path: Path, repo: Path):
    build(load_config(repo / "recipes/data/demo.yaml", [f"output_dir={tmp_path}"]))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(CoalmError, match="an unfinished build"):
        split_files(tmp_path, "train")


def test_an_output_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").touch()
    config = BuildConfig(
        output_dir=str(tmp_path / "out"), sources={"snips": SourceConfig(path="samples:snips")}
    )
    with pytest.raises(CoalmError, match="out: is a file"):
        build(config)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("sgd", {"speed": 1}, "unknown key `speed`; the keys are transcripts, functions"),
        ("toolace", {"speed": 1}, "source toolace: unknown key `speed`; there are no keys"),
        ("sgd", {"max_results": "two"}, "max_results: expected a whole number, found 'two'"),
        ("sgd", {"max_results": -1}, "max_results: input should be greater than or equal to 0"),
        ("hammer", {"copies": 0}, "source hammer: copies: input should be greater than or equal"),
        ("hammer", {"masking": 1.5}, "masking: input should be less than or equal to 1"),
        ("snips", {"intents": "GetWeather"}, "intents: expected a list, not one text"),
    ],
)
def test_bad_source_options(tmp_path: Path, source: str, options: dict[str, object], message: str):
    config = BuildConfig(
        output_dir=str(tmp_path / "out"),
        sources={
            source: SourceConfig(path=f"samples:{PATHS.get(source, source)}", options=options)
        },
    )
    with pytest.raises(CoalmError, match=message):
        build(config)


def test_choosing_reads_one_column_only():
    """One long text must not blow the others up: 20,000 characters by 3,000 rows is 240 MB."""
    rows = [sample(n).as_dict() for n in range(3000)]
    rows[0]["instruction"] = "x" * 20_000
    long = datasets.Dataset.from_list(rows)
    tracemalloc.start()
    selection = Selection(["tod"], ["snips"], {"snips": 1}, validation_fraction=0.5)
    select(long, selection, place="x", split="train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_missing_source_leaves_nothing(tmp_path: Path):
    config = BuildConfig(
        output_dir=str(tmp_path / "out"),
        sources={"snips": SourceConfig(path=str(tmp_path / "nosuch"))},
    )
    with pytest.raises(CoalmError, match="nosuch: no such file"):
        build(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output_dir: x\nsources: {nosuch: {path: y}}", "unknown source `nosuch`"),
        ("output_dir: x", "`sources` is empty"),
        ("output_dir: x\nspeed: 1", "speed"),
        ("output_dir: x\nseed: soon", "seed|soon"),
        (
            "output_dir: x\nsources: {snips: {path: y, limit: 0}}",
            "sources.snips.limit: input should be greater than or equal to 1, found 0",
        ),
        ("output_dir: x\nsources: {snips: {path: 3}}", "snips.path: expected a path"),
        (
            "output_dir: x\nvalidation_fraction: 1\nsources: {snips: {path: y}}",
            "input should be less than 1",
        ),
        ("output_dir: [", "not valid YAML"),
        (
            "output_dir: x\nwithout: [chat]\nsources: {snips: {path: y}}",
            "without.0: input should be 'tod', 'la' or 'cra'",
        ),
        ("output_dir: x\nwithout: [tod]\nsources: {snips: {path: y}}", "nothing is left of snips"),
        ("sources: {snips: {path: y}}", "output_dir"),
    ],
)
def test_bad_configurations(tmp_path: Path, text: str, message: str):
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(CoalmError, match=message) as error:
        load_config(file, [])
    assert str(file) in str(error.value)


def test_domains_sources_and_weights():
    assert set(chosen(domains=["cra"])["source"]) == {"sgd"}
    assert len(chosen(sources=["snips"])) == 75
    assert len(chosen(weights={"sgd": 2})) == 125
    assert len(chosen(weights={"snips": 0})) == 25
    half = chosen(weights={"snips": 0.5})
    assert 25 + 20 < len(half) < 25 + 55
    assert half["input"] == chosen(weights={"snips": 0.5})["input"]
    assert half["input"] != chosen(weights={"snips": 0.5}, seed=1)["input"]


def test_splits_share_nothing():
    train = chosen(split="train", validation_fraction=0.3)
    held_out = chosen(split="validation", validation_fraction=0.3)
    assert len(train) + len(held_out) == 100
    assert not set(train["dialogue_id"]) & set(held_out["dialogue_id"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ["chat"]}, "unknown domain `chat`; use some of tod, la, cra"),
        ({"domains": ["la"]}, "no sample is left of 100"),
        ({"sources": ["xlam"]}, "no sample of source `xlam`; it has sgd, snips"),
        ({"weights": {"sgd": -1}}, "-1 is not a number from 0 up"),
        ({"split": "test"}, "unknown split `test`"),
        ({"split": "validation"}, "set validation_fraction"),
        ({"split": "train", "validation_fraction": 1.5}, "not in"),
    ],
)
def test_impossible_choices(changes: dict[str, object], message: str):
    with pytest.raises(CoalmError, match=message):
        chosen(**changes)


def test_a_column_that_is_not_there():
    published = table().remove_columns(["source", "domain", "dialogue_id"])
    assert len(select(published, Selection(), place="hub", split="train")) == 100
    with pytest.raises(CoalmError, match="hub: no column `domain`"):
        select(published, Selection(domains=["tod"]), place="hub", split="train")
    some = Selection(validation_fraction=0.3)
    held_out = select(published, some, place="hub", split="validation")
    kept = select(published, some, place="hub", split="train")
    assert not set(held_out["input"]) & set(kept["input"])
    assert len(held_out) + len(kept) == 100 and len(held_out) > 15


def test_an_unknown_domain_in_the_data():
    rows = [sample(0).as_dict(), sample(1, domain="chat").as_dict()]
    with pytest.raises(CoalmError, match="x: record 1: unknown domain `chat`"):
        select(datasets.Dataset.from_list(rows), Selection(["tod"]), place="x", split=None)


def test_where_a_mixture_lies(tmp_path: Path):
    for name in ("train.jsonl", "validation.parquet", "notes.txt"):
        (tmp_path / name).touch()
    assert split_files(tmp_path, "train") == ([tmp_path / "train.jsonl"], True)
    assert split_files(tmp_path, "validation")[1]
    assert split_files(tmp_path / "train.jsonl", "train") == ([tmp_path / "train.jsonl"], False)
    for path, message in (
        (tmp_path / "notes.txt", "expected a .parquet or .jsonl"),
        (tmp_path / "nosuch", "no such file or folder"),
    ):
        with pytest.raises(CoalmError, match=message):
            split_files(path, "train")
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(CoalmError, match="no train"):
        split_files(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: not valid JSON"),
        ("[]", ":2: expected an object"),
        ('{"instruction": "i"}', ":2: column `output` is missing"),
        (json.dumps(sample(1).as_dict() | {"output": " "}), ":2: `output` is empty"),
        (json.dumps(sample(1).as_dict() | {"domain": "chat"}), ":2: unknown domain `chat`"),
        (json.dumps(sample(1).as_dict() | {"input": 5}), ":2: column `input` is int"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path: Path, line: str, message: str):
    file = tmp_path / "train.jsonl"
    file.write_text(f"{json.dumps(sample(0).as_dict())}\n{line}\n")
    with pytest.raises(CoalmError, match=message) as error:
        read_samples([file], strict=True)
    assert str(error.value).startswith(str(file))


def test_json_lines_need_the_text_columns_only(tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    rows = [{"instruction": "i", "input": "", "output": "o", "extra": 1}] * 2
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_samples([file]).column_names == ["instruction", "input", "output"]
    file.write_text(file.read_text() + json.dumps({**rows[0], "source": "own"}) + "\n")
    with pytest.raises(CoalmError, match="record 3 has the columns"):
        read_samples([file])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "README.md").write_text("my project")
    config = BuildConfig(
        output_dir=str(tmp_path),
        sources={"snips": SourceConfig(path="samples:snips")},
        validation_fraction=0.2,
    )
    with pytest.raises(CoalmError, match="holds files of something else"):
        build(config)
    assert (tmp_path / "README.md").read_text() == "my project"


def test_unreadable_parquet(tmp_path: Path):
    file = tmp_path / "train.parquet"
    file.write_text("not parquet")
    with pytest.raises(CoalmError, match="cannot be read"):
        read_samples([file])


BUILD_IN_SMALL_PIECES = """
import json, os, signal, sys
from pathlib import Path
from coalm_oumi.data.mixture import build, parts, write
from coalm_oumi.data.mixture.config import load_config

parts.PART_RECORDS, write.SHARD_SAMPLES = 4, 20
recipe, home, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def deadly(move):
    def moved(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(*arguments)
    return moved

def build_in_a_process_of_its_own(output):
    process = os.fork()
    if not process:
        build.build(load_config(recipe, [f"output_dir={output}", "sources.snips.limit=null"]))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

codes = [build_in_a_process_of_its_own(home / "whole")]
Path.replace, Path.rename = deadly(Path.replace), deadly(Path.rename)
while len(codes) < 20 and (len(codes) == 1 or codes[-1]):
    codes.append(build_in_a_process_of_its_own(home / "killed"))
print(json.dumps(codes))
"""


def hashes(folder: Path) -> dict[str, str]:
    return json.loads((folder / "manifest.json").read_text())["sha256"]


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path: Path, repo: Path):
    """Each run is killed with -9 before it puts its 26th file in place."""
    command = [sys.executable, "-c", BUILD_IN_SMALL_PIECES]
    arguments = [str(repo / "recipes/data/demo.yaml"), str(tmp_path), "26"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    whole, *codes = json.loads(done.stdout)
    assert whole == 0
    expected = hashes(tmp_path / "whole")
    assert len(expected) > 15, "several shards"
    assert len(codes) > 4
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0]
    assert hashes(tmp_path / "killed") == expected
    for name, hashed in expected.items():
        content = (tmp_path / "killed" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == hashed
    assert not (tmp_path / "killed/.build").exists()


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = BuildConfig(
        output_dir=str(tmp_path),
        sources={"toolace": SourceConfig(path="samples:toolace")},
        strict=True,
    )
    with pytest.raises(CoalmError):
        build(config)
    monkeypatch.setattr(parts, "write_part", lambda *_: pytest.fail("rendered again"))
    build(config.model_copy(update={"strict": False, "validation_fraction": 0.2}))
    with pytest.raises(BaseException, match="rendered again"):
        build(config.model_copy(update={"sources": {"toolace": SourceConfig(path="samples:toolace"), "snips":
                                       SourceConfig(path="samples:snips")}}))  # fmt: skip


def test_a_damaged_part_is_rendered_again(tmp_path: Path):
    config = BuildConfig(
        output_dir=str(tmp_path / "damaged"),
        sources={"toolace": SourceConfig(path="samples:toolace")},
        validation_fraction=0.2,
        strict=True,
    )
    with pytest.raises(CoalmError):
        build(config)
    (part, *_) = (tmp_path / "damaged").glob(".build/parts-*/**/*.arrow")
    part.write_bytes(part.read_bytes()[:-100])
    found = [
        hashes(build(config.model_copy(update={"strict": False, "output_dir": str(folder)})))
        for folder in (tmp_path / "damaged", tmp_path / "whole")
    ]
    assert found[0] == found[1]


def test_more_workers_give_the_same_files(tmp_path: Path, repo: Path, mixture: Path):
    config = load_config(repo / "recipes/data/demo.yaml", [f"output_dir={tmp_path}"])
    build(config, workers=2)
    assert hashes(tmp_path) == hashes(mixture)


def test_a_strict_build_stops_in_other_processes_too(tmp_path: Path):
    sources = {"toolace": SourceConfig(path="samples:toolace")}
    with pytest.raises(CoalmError, match=r"data.json\[17\]: turn 1"):
        build(
            BuildConfig(output_dir=str(tmp_path / "out"), sources=sources, strict=True), workers=2
        )


def test_shards_together_are_the_whole(
    tmp_path: Path, repo: Path, mixture: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(write, "SHARD_SAMPLES", 50)
    build(load_config(repo / "recipes/data/demo.yaml", [f"output_dir={tmp_path}"]))
    files, is_split = split_files(tmp_path, "train")
    assert is_split and len(files) > 3
    assert list(read_samples(files)) == list(read_samples(split_files(mixture, "train")[0]))
    assert len(split_files(tmp_path, "validation")[0]) > 1


def test_no_worker(tmp_path: Path):
    config = BuildConfig(
        output_dir=str(tmp_path), sources={"snips": SourceConfig(path="samples:snips")}
    )
    with pytest.raises(CoalmError, match="--workers 0: must be 1 or more"):
        build(config, workers=0)


def test_two_builds_of_one_folder(tmp_path: Path):
    (tmp_path / ".build").mkdir()
    config = BuildConfig(
        output_dir=str(tmp_path), sources={"snips": SourceConfig(path="samples:snips")}
    )
    with (
        FileLock(tmp_path / ".build/lock"),
        pytest.raises(CoalmError, match="another build is writing this folder"),
    ):
        build(config)


def test_several_paths_of_one_source(tmp_path: Path):
    paths = [str(resource_dir("samples") / "sgd"), str(tmp_path / "dev")]
    shutil.copytree(paths[0], paths[1])
    config = BuildConfig(
        output_dir=str(tmp_path / "out"), sources={"sgd": SourceConfig(path=paths)}
    )
    samples = read_samples(split_files(build(config), "train")[0])
    splits = {name.split("/")[1] for name in samples["dialogue_id"]}
    assert splits == {"sgd"}, "the copy says nothing new, so it is dropped"
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["duplicates"]["sgd"] > 100


def cached_on_the_hub(cache: Path, name: str, folder: Path) -> None:
    """Lays a data set down as the Hub's client keeps what it has fetched."""
    home = cache / f"datasets--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text("0" * 40)
    shutil.copytree(folder, home / "snapshots" / ("0" * 40))


def test_a_source_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    cached_on_the_hub(tmp_path / "cache", "owner/xlam", resource_dir("samples") / "xlam")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def run(path: str) -> int:
        text = f"output_dir: {tmp_path / 'out'}\nsources: {{hammer: {{path: '{path}'}}}}"
        (tmp_path / "data.yaml").write_text(text)
        return main(["build", "-c", str(tmp_path / "data.yaml"), "validation_fraction=0.2",
                     "--workers", "1"])  # fmt: skip

    assert run("hub:owner/xlam") == 0
    assert json.loads((tmp_path / "out/manifest.json").read_text())["samples"]["train"]["hammer"]
    for path, message in (
        ("hub:owner/nosuch", "hub:owner/nosuch: unavailable from the Hugging Face Hub"),
        ("hub:xlam", "hub:xlam: expected hub:owner/name"),
    ):
        assert run(path) == 1
        assert f"error: {message}" in capsys.readouterr().err


def test_a_build_is_sent_to_the_hub(tmp_path: Path, repo: Path):
    """The Hub's own client, against a server that puts the commits into a folder."""

    def run(address: str, *changes: str) -> subprocess.CompletedProcess[str]:
        options = ["-c", str(repo / "recipes/data/demo.yaml"), "--push-to-hub", "owner/mine",
                   "--workers", "1"]  # fmt: skip
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0",
                       "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "coalm_oumi", "build", *options, f"output_dir={output}", *changes],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    output, there = tmp_path / "out", tmp_path / "hub/owner/mine"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with hub(tmp_path / "hub") as address:
        done = run(address)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "https://huggingface.co/datasets/owner/mine/commit/1"
        built = {file.name: file.read_bytes() for file in output.iterdir()}
        built.pop("notes.txt")
        assert {file.name: file.read_bytes() for file in there.iterdir()} == built
        assert run(address, "validation_fraction=0").returncode == 0
        assert not (there / "validation-00000.parquet").exists(), "no shard of the one before"
    refused = run(address)
    assert refused.returncode == 1
    assert "error: owner/mine: not pushed to the Hugging Face Hub" in refused.stderr
    assert "hf_secret" not in refused.stderr + refused.stdout
    assert (output / "manifest.json").exists()
