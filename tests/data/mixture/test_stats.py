import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.mixture import stats


def test_tokens_are_counted_as_the_tokenizer_counts_them(mixture: Path, tokenizer):
    rows = [
        row
        for split in ("train", "validation")
        for row in pq.read_table(mixture / f"{split}-00000.parquet").to_pylist()
    ]
    lengths = stats.count_tokens(mixture, tokenizer)
    expected = [
        len(tokenizer(f"{row['instruction']}\n{row['input']}\n{row['output']}")["input_ids"])
        for row in rows
        if row["source"] == "sgd"
    ]
    assert sorted(lengths["sgd"].tolist()) == sorted(expected)
    *sources, total = stats.summarize(lengths, window=400)
    assert total.source == "total"
    assert total.samples == len(rows) == sum(row.samples for row in sources)
    assert total.tokens == sum(row.tokens for row in sources)
    assert total.over_window == pytest.approx(
        sum(row.over_window * row.samples for row in sources) / total.samples
    )


def test_the_papers_table_adds_up():
    rows = stats.paper_table().values()
    assert sum(row["samples"] for row in rows) == 311_583
    assert sum(row["tokens"] for row in rows) == 211_184_321


def test_the_command(
    mixture: Path, demo_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert main(["stats", str(mixture), "--tokenizer", str(demo_model), "--window", "512"]) == 0
    printed = capsys.readouterr().out
    assert "202,500" in printed and "311,583" in printed
    assert (mixture / "stats.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((mixture / "stats.json").read_text())
    assert [row["source"] for row in record["sources"]][-1] == "total"


def test_errors(tmp_path: Path, mixture: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(CoalmError, match="no train"):
        stats.count_tokens(tmp_path, None)
    assert main(["stats", str(mixture), "--tokenizer", "nosuch/tokenizer"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --tokenizer nosuch/tokenizer: unavailable")
    assert len(error.splitlines()) == 1
