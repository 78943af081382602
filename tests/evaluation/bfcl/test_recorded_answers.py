"""Our verdicts on what six real models answered, against those of `bfcl evaluate`."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from coalm_oumi.evaluation.bfcl import environment, run, verdicts
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.v3 import V3
from tests.support import official_bfcl

RECORDED = Path("../shared/data/bfcl/recorded_2024_08")
MODELS = {
    "NousResearch_Hermes-2-Theta-Llama-3-8B": "uiuc-convai/CoALM-70B",
    "Salesforce_xLAM-7b-fc-r": "MadeAgents/Hammer2.1-7b",
    "gpt-4o-2024-08-06": "gpt-4o-2024-11-20",
    "gpt-4o-2024-08-06-FC": "gpt-4o-2024-11-20-FC",
    "ibm-granite_granite-20b-functioncalling": "ibm-granite/granite-20b-functioncalling",
    "meta-llama_Meta-Llama-3-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
}
"""For each model the entry of today's table whose handler reads its answers."""
CATEGORIES = {"simple": "simple", "java": "java", "javascript": "javascript",
    "multiple_function": "multiple", "parallel_function": "parallel",
    "parallel_multiple_function": "parallel_multiple", "relevance": "irrelevance"}  # fmt: skip
"""The files' categories, and their names in V3."""


def test_no_recorded_answer_has_another_verdict(tmp_path):
    if not RECORDED.is_dir():
        pytest.skip(f"{RECORDED} is not here: recorded answers of six models")
    entries = official_bfcl.questions(V3, list(CATEGORIES.values()))
    ours: dict[str, Counter[str]] = {}
    abstained: dict[str, dict[str, int]] = {}
    for recorded, model in MODELS.items():
        style = Official(model, text=True, tools=False, varies_prompt=True)
        answered: list[Any] = []
        for file, category in CATEGORIES.items():
            lines = (RECORDED / recorded / f"{file}.jsonl").read_text().splitlines()
            results = [json.loads(line)["result"] for line in lines]
            answered += zip(entries[category], results, strict=False)
        run.write_results(tmp_path, V3, style, answered)
        judged = verdicts.judge(V3, style, [e for e, _ in answered], [a for _, a in answered])
        ours[model] = Counter(sample.entry.id for sample in judged if not sample.verdict.valid)
        abstained[recorded] = verdicts.abstentions(judged)
    named = [argument for model in MODELS.values() for argument in ("--model", model)]
    chosen = [argument for name in CATEGORIES.values() for argument in ("--test-category", name)]
    done = subprocess.run(
        [environment.python(V3).with_name("bfcl"), "evaluate", *named, *chosen],
        env={**environment.variables(tmp_path), "OPENAI_API_KEY": "unused"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for model, wrong in ours.items():
        files = (tmp_path / "score" / model.replace("/", "_")).glob("*_score.json")
        rows = [json.loads(line) for file in files for line in file.read_text().splitlines()[1:]]
        assert wrong == Counter(row["id"] for row in rows), model
        assert 0 < wrong.total() < 1390 or "xLAM" in model
    assert {name: tuple(counts.values()) for name, counts in abstained.items()} == {
        "gpt-4o-2024-08-06": (87, 132, 14),
        "gpt-4o-2024-08-06-FC": (206, 0, 5),
        "ibm-granite_granite-20b-functioncalling": (0, 212, 0),  # it calls `no_function`
        "meta-llama_Meta-Llama-3-8B-Instruct": (10, 1, 41),
        # Read by another model's decoder, since the table has none of these two:
        "NousResearch_Hermes-2-Theta-Llama-3-8B": (55, 0, 185),
        "Salesforce_xLAM-7b-fc-r": (3, 201, 36),
    }
