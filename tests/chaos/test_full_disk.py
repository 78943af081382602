"""Commands on a full disk: a real tmpfs, which only root can mount."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.chaos.test_evaluate import WORKERS, Counting, api_bank, book, metrics, write_recipe
from tests.conftest import REPO
from tests.data.cra.test_generate import DIALOGUES, well
from tests.support.chat_server import ChatServer
from tests.support.commands import run
from tests.support.small_disk import SmallDisk


def check_one_line(printed: str, folder: Path) -> None:
    """Checks that a command ended with one line that names a file."""
    assert "Traceback" not in printed, printed
    (line,) = [line for line in printed.splitlines() if re.match("error:", line, re.IGNORECASE)]
    assert "No space left on device" in line and str(folder) in line, line


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest):
    (tmp_path / "disk").mkdir()
    with SmallDisk(tmp_path / "disk", request.param) as small:
        yield small


@pytest.mark.parametrize("disk", ["8k", "16k", "140k"], indirect=True)
def test_an_evaluation_pays_only_for_what_is_missing(tmp_path: Path, disk: SmallDisk):
    """The disk is full at the answers, at the file of samples, and at Oumi's own files."""
    respond = Counting(book)
    out, log, before = disk.folder / "out", tmp_path / "log", 0
    with ChatServer(respond) as server:
        recipe = write_recipe(tmp_path, server.url, out, api_bank(tmp_path))
        for _ in range(2):
            before = respond.count
            code, printed = run("oumi", "evaluate", "-c", recipe, log=log)
            assert code == 1
            check_one_line(printed, out)
            for file in out.glob("raw/*.jsonl"):
                assert all(map(json.loads, file.read_text().splitlines()))
        assert respond.count - before <= WORKERS, "a full disk is noticed at once"
        disk.grow()
        code, printed = run("oumi", "evaluate", "-c", recipe, log=log)
        assert code == 0, printed
        assert respond.again <= 2 * WORKERS
        whole = [file for file in out.glob("custom_*") if (file / "package_versions.json").exists()]
        assert metrics_of(whole[-1])["num_samples"] == len(respond.asked)


def metrics_of(folder: Path) -> dict:
    (values,) = json.loads((folder / "task_result.json").read_text())["results"].values()
    return values


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
def test_a_build_gives_the_same_bytes_afterwards(tmp_path: Path, disk: SmallDisk):
    log, out, recipe = tmp_path / "log", disk.folder / "data", REPO / "recipes/data/demo.yaml"
    build = ("coalm", "build", "-c", recipe, "--workers", "1")
    code, printed = run(*build, f"output_dir={out}", log=log)
    assert code == 1
    check_one_line(printed, out)
    disk.grow()
    for folder in (out, tmp_path / "elsewhere"):
        code, printed = run(*build, f"output_dir={folder}", log=log)
        assert code == 0, printed
    manifests = [
        json.loads((folder / "manifest.json").read_text())["sha256"]
        for folder in (out, tmp_path / "elsewhere")
    ]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("disk", ["8k"], indirect=True)
def test_a_generation_pays_only_for_what_is_missing(tmp_path: Path, disk: SmallDisk):
    respond = Counting(well)
    log, out, concurrency = tmp_path / "log", disk.folder / "out", 4
    with ChatServer(respond) as server:
        file = tmp_path / "generate.yaml"
        options = {
            "path": "samples:sgd",
            "output_dir": str(out),
            "endpoint": {"model": "m", "base_url": server.url, "concurrency": concurrency},
            "sampling": {"max_tokens": 100},
        }
        file.write_text(yaml.safe_dump(options))
        code, printed = run("coalm", "cra", "generate", "-c", file, log=log)
        assert code == 1
        check_one_line(printed, out)
        disk.grow()
        code, printed = run("coalm", "cra", "generate", "-c", file, log=log)
        assert code == 0, printed
        assert len(respond.asked) <= DIALOGUES and respond.again <= concurrency


@pytest.mark.parametrize("disk", ["16k"], indirect=True)
def test_a_report_names_the_file(tmp_path: Path, disk: SmallDisk):
    log = tmp_path / "log"
    with ChatServer(Counting(book)) as server:
        recipe = write_recipe(tmp_path, server.url, tmp_path / "out", api_bank(tmp_path))
        code, printed = run("oumi", "evaluate", "-c", recipe, log=log)
        assert code == 0, printed
    assert metrics(tmp_path / "out")
    code, printed = run("coalm", "report", tmp_path / "out", "--output", disk.folder, log=log)
    assert code == 1
    check_one_line(printed, disk.folder)
    disk.grow()
    code, printed = run("coalm", "report", tmp_path / "out", "--output", disk.folder, log=log)
    assert code == 0, printed
