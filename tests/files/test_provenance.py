import json
import subprocess
from pathlib import Path

from coalm_oumi.core.digest import digest
from coalm_oumi.files import provenance
from coalm_oumi.rendering import prompts
from tests.conftest import REPO


def test_a_run_says_what_it_was_made_with(mixture: Path):
    found = provenance.made_with(data=mixture, prompts=prompts.fingerprint_of(["alpaca"]))
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=REPO, capture_output=True, text=True
    ).stdout.strip()
    assert found["git"] is None or (head and found["git"].removesuffix("-dirty") == head)
    assert found["packages"].keys() >= {"coalm-oumi", "oumi", "torch", "transformers"}
    assert (
        found["prompts"]
        != provenance.made_with(prompts=prompts.fingerprint_of(["hammer"]))["prompts"]
    )
    assert json.loads(json.dumps(found)) == found


def test_a_mixture_is_known_by_its_content(mixture: Path, tmp_path: Path):
    manifest = json.loads((mixture / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "config": "elsewhere"}))
    assert provenance.data_hash(tmp_path) == provenance.data_hash(mixture)
    manifest["sha256"] = dict.fromkeys(manifest["sha256"], "0")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert provenance.data_hash(tmp_path) != provenance.data_hash(mixture)
    assert provenance.data_hash(tmp_path / "nowhere") is None
    (tmp_path / "train.jsonl").write_text("{}")
    assert provenance.data_hash(tmp_path / "train.jsonl")


def test_samples_are_known_by_their_names():
    assert digest(["a", "b"]) != digest(["b", "a"])
    assert digest([["\ud800"]])
