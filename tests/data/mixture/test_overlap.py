import json
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.mixture import overlap
from coalm_oumi.data.mixture.store import read_all

LONG = "please find me a cheap guesthouse in the north of town with free wifi for two"
SHORT = "book a taxi to Cambridge station"


def mixture_of(*texts: str) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"instruction": "Do this.", "input": text, "output": "ok"} for text in texts]
    )


def benchmark(tmp_path: Path, *texts: str) -> overlap.Benchmark:
    file = tmp_path / "b.json"
    file.write_text(json.dumps([{"turns": [{"deep": text}]} for text in texts]))
    return overlap.read_benchmark("b", file)


@pytest.mark.parametrize(
    ("text", "exact", "windows"),
    [
        (f"User: {SHORT.upper()}!", True, False),
        (f"User: {SHORT} now", True, False),
        ("User: book a taxi to Cambridge", False, False),
        (f"Well, {LONG}.", False, True),
        (" ".join(LONG.split()[:13]), False, True),
        (" ".join(LONG.split()[:12]) + " else", False, False),
        ("nothing of the kind", False, False),
    ],
)
def test_what_overlaps(tmp_path: Path, text: str, exact: bool, windows: bool):
    (found,) = overlap.find(mixture_of(text, "other"), [benchmark(tmp_path, SHORT, LONG)])
    assert (found.exact, found.windows) == (exact, windows)
    assert found.examples == ([0] if exact or windows else [])


def test_short_texts_say_nothing(tmp_path: Path):
    known = benchmark(tmp_path, "Thank you, goodbye!", SHORT)
    assert known.texts == 1
    (found,) = overlap.find(mixture_of("Thank you, goodbye!"), [known])
    assert found.exact == 0


def test_hashes_are_those_of_the_window_alone():
    words = ["a", "b", "c", "d", "e"]
    assert overlap.hashes(words, 3).tolist() == [
        overlap.hashes(words[start : start + 3], 3)[0] for start in range(3)
    ]
    assert len(overlap.hashes(words, 6)) == 0
    assert overlap.hashes(["a", "b"], 2) != overlap.hashes(["b", "a"], 2)


def test_files_of_every_form(tmp_path: Path):
    record = json.dumps({"question": LONG})
    (tmp_path / "a.jsonl").write_text(f"{record}\n{record}\n")
    (tmp_path / "lines.json").write_text(f"{record}\n{record}\n")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("data.json", json.dumps([record]))
    windows = [
        overlap.read_benchmark("b", tmp_path / name).windows
        for name in ("a.jsonl", "lines.json", ".")
    ]
    assert np.array_equal(windows[0], windows[1])
    assert set(windows[0]) <= set(windows[2])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not valid JSON"), ('["short"]', "no text of 5 words or more")],
)
def test_bad_benchmarks(tmp_path: Path, content: str | None, message: str):
    file = tmp_path / "b.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CoalmError, match=message):
        overlap.read_benchmark("b", file)


def test_the_command(mixture: Path, tmp_path: Path):
    file = tmp_path / "leak.json"
    file.write_text(json.dumps([read_all(mixture)[0]["input"]]))
    assert main(["overlap", str(mixture), "--benchmark", f"leak={file}"]) == 0
    found = json.loads((mixture / "overlap.json").read_text())["benchmarks"]["leak"]
    assert 0 < found["exact"] + found["windows"] < 10
    assert found["examples"]


def test_two_benchmarks_of_one_name(mixture: Path, tmp_path: Path):
    file = tmp_path / "b.json"
    file.write_text(json.dumps([LONG]))
    known = [overlap.read_benchmark("all", file)]
    with pytest.raises(CoalmError, match="give each a different name"):
        overlap.find(read_all(mixture), known * 2)


def test_bad_arguments(mixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["overlap", str(mixture), "--benchmark", "nosuch"]) == 1
    assert "expected NAME=PATH" in capsys.readouterr().err


def test_the_real_samples_and_the_real_benchmarks(mixture: Path, shared: Path):
    known = [
        overlap.read_benchmark("multiwoz", shared / "multiwoz/multiwoz_2.1_test.json.zip"),
        overlap.read_benchmark("api_bank", shared / "api_bank/hammer_original"),
    ]
    assert known[0].texts > 10_000
    results = overlap.find(read_all(mixture), known)
    assert [(result.exact, result.windows) for result in results] == [(0, 0), (0, 0)]
