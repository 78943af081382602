import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from coalm_oumi.cli import chains as reproduce
from coalm_oumi.core.errors import CoalmError
from tests.conftest import REPO, run
from tests.support import PATIENCE

CHAINS = sorted((REPO / "recipes/reproduce").glob("*.yaml"))
MADE_BEFORE = {
    "data/raw",
    "data/coalm_it/manifest.json",
    "data/coalm_it/stats.json",
    "output/coalm_8b/trainer_state.json",
    "output/demo/data/manifest.json",
    "output/demo/model",
    "output/demo/train",
    "output/demo/eval",
}
"""What a person or an earlier chain makes."""


def chain_of(folder: Path, **stages: dict[str, object]) -> Path:
    file = folder / "chain.yaml"
    file.write_text(
        yaml.safe_dump({"output_dir": str(folder / "out"), "stages": stages}, sort_keys=False)
    )
    return file


def appends(target: Path, text: str) -> str:
    code = f"open({str(target)!r}, 'a').write({text!r})"
    return f'{sys.executable} -c "{code}"'


@pytest.mark.parametrize("file", CHAINS, ids=lambda file: file.stem)
def test_every_chain_can_be_read_and_its_stages_fit(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COALM_DATA", "somewhere")
    chain = reproduce.load_chain(file, [])
    text = file.read_text()
    assert f"coalm reproduce --scale {file.stem}" in text and "Hardware:" in text
    written = [output for stage in chain.stages.values() for output in stage.outputs]
    for stage in chain.stages.values():
        assert stage.words[0] in ("coalm", "oumi", "srun")
        for place in stage.inputs:
            inside = any(Path(out).is_relative_to(place) for out in written)
            under = any(Path(place).parent == Path(out).parent for out in written)
            assert inside or under or place in MADE_BEFORE, place
    assert list(chain.stages)[-1] == "report"


@pytest.mark.parametrize("file", CHAINS, ids=lambda file: file.stem)
def test_adapters_are_evaluated_on_the_model_that_they_were_trained_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    """The tasks refuse another base model, after days of training."""
    monkeypatch.setenv("COALM_DATA", "somewhere")
    monkeypatch.chdir(REPO)
    trained, evaluated = {}, 0
    for stage in reproduce.load_chain(file, []).stages.values():
        words = stage.words
        if "oumi" not in words or "-c" not in words:
            continue
        recipe = Path(words[words.index("-c") + 1])
        config = reproduce.identity._recipe(recipe, reproduce.identity._changes(words))
        base, adapter = config["model"]["model_name"], config["model"].get("adapter_model")
        if "train" in words:
            trained[config["training"]["output_dir"]] = base
        elif adapter is not None:
            evaluated += 1
            ours = [t for t in config["tasks"] if t["task_name"].startswith("coalm-oumi/")]
            allowed = all(task["eval_kwargs"]["data"].get("other_base") for task in ours)
            assert trained[adapter] == base or allowed, shlex.join(words)
    assert trained and evaluated


def test_a_stage_runs_once_for_the_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    raw, data, model = tmp_path / "raw", tmp_path / "data", tmp_path / "model"
    raw.write_text("1")
    file = chain_of(
        tmp_path,
        build={"command": appends(data, "d"), "inputs": [str(raw)], "outputs": [str(data)]},
        train={"command": appends(model, "m"), "inputs": [str(data)], "outputs": [str(model)]},
    )
    chain = reproduce.load_chain(file, [])
    assert [reason for *_, reason in reproduce.plan(chain)] == ["has not run", "has not run"]
    reproduce.run(chain)
    assert [reason for *_, reason in reproduce.plan(chain)] == [None, None]
    reproduce.run(chain)
    assert (data.read_text(), model.read_text()) == ("d", "m")

    raw.write_text("2")
    assert [reason for *_, reason in reproduce.plan(chain)] == [
        f"{raw} has changed", "build comes before",
    ]  # fmt: skip
    reproduce.run(chain)
    assert (data.read_text(), model.read_text()) == ("dd", "mm")
    model.unlink()
    assert [reason for *_, reason in reproduce.plan(chain)] == [None, f"{model} is gone"]
    reproduce.run(chain)
    assert (data.read_text(), model.read_text()) == ("dd", "m")
    rows = [
        json.loads(line) for line in (tmp_path / "out/reproduce.jsonl").read_text().splitlines()
    ]
    assert [row.get("key") for row in rows] == [None, "build", "train", "build", "train", "train"]
    assert rows[1]["record"]["made_with"]["hardware"]


def test_a_failure_keeps_what_is_finished(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    fails = f"{sys.executable} -c 'raise SystemExit(3)'"
    file = chain_of(
        tmp_path,
        one={"command": appends(first, "1"), "outputs": [str(first)]},
        two={"command": fails},
        three={"command": appends(second, "3")},
    )
    with pytest.raises(CoalmError, match="two failed with exit code 3; finished stages are kept"):
        reproduce.run(reproduce.load_chain(file, []))
    assert not second.exists()
    fixed = reproduce.load_chain(file, [f"stages.two.command={appends(second, '2')}"])
    reproduce.run(fixed)
    assert (first.read_text(), second.read_text()) == ("1", "23")


def test_a_stage_without_its_output_is_not_done(tmp_path: Path):
    absent = tmp_path / "absent"
    file = chain_of(
        tmp_path, one={"command": f"{sys.executable} -c pass", "outputs": [str(absent)]}
    )
    with pytest.raises(CoalmError, match="one did not write"):
        reproduce.run(reproduce.load_chain(file, []))
    assert [reason for *_, reason in reproduce.plan(reproduce.load_chain(file, []))] == [
        "has not run"
    ]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_chain_goes_on(tmp_path: Path, how: signal.Signals):
    first, second, flag = tmp_path / "first", tmp_path / "second", tmp_path / "flag"
    pid = tmp_path / "pid"
    script = tmp_path / "waits.py"
    script.write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.05)\n"
    )
    waits = f"{sys.executable} {script}"
    file = chain_of(
        tmp_path,
        one={"command": appends(first, "1"), "outputs": [str(first)]},
        two={"command": waits},
        three={"command": appends(second, "3"), "outputs": [str(second)]},
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "coalm_oumi", "reproduce", "-c", file, "--run"],
        cwd=REPO, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    if how == signal.SIGTERM:
        process.terminate()
    else:
        os.killpg(process.pid, how)
    process.wait(timeout=PATIENCE)
    child = Path(f"/proc/{pid.read_text()}")
    assert not child.exists() or "zombie" in (child / "status").read_text()
    assert not second.exists()
    flag.touch()
    reproduce.run(reproduce.load_chain(file, []))
    assert (first.read_text(), second.read_text()) == ("1", "3")


def test_the_command_prints_by_default(tmp_path: Path):
    shown = run("coalm", "reproduce", "--scale", "demo", "variables.dtype=float32", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "# train: to do: has not run" in shown.stdout
    assert "--model.torch_dtype_str float32" in shown.stdout
    recipe = f"{REPO}/recipes/coalm_demo.yaml"
    assert recipe in shown.stdout, "outside a checkout, the package's recipes are meant"
    assert not list(tmp_path.iterdir())
    unknown = run("coalm", "reproduce", "--scale", "7b", cwd=tmp_path)
    assert unknown.returncode == 1 and "expected one of 405b, 70b, 8b" in unknown.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output_dir: x\nstages: {}\n", "`stages` is empty"),
        ('output_dir: x\nstages: {a: {command: "\'"}}\n', "No closing quotation"),
        (
            "output_dir: x\nstages: {a: {command: ''}}\n",
            "stages.a.command: expected text that is not",
        ),
        ("output_dir: x\nstages: {a: {run: x}}\n", "run"),
    ],
)
def test_a_chain_that_cannot_run_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "chain.yaml").write_text(text)
    with pytest.raises(CoalmError, match=message):
        reproduce.load_chain(tmp_path / "chain.yaml", [])


def reasons(chain: reproduce.Chain) -> list[str | None]:
    return [reason for *_, reason in reproduce.plan(chain)]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> reproduce.Chain:
    """A chain of `true` commands that name real recipes, all of its stages done."""
    monkeypatch.chdir(tmp_path)
    raw, data, model, run = (tmp_path / name for name in ("raw", "data", "model", "run"))
    for folder in (raw, data, model, run):
        folder.mkdir()
    (raw / "a.json").write_text("[]")
    shard = data / "train-00000.parquet"
    shard.write_bytes(b"rows")
    digest = hashlib.sha256(b"rows").hexdigest()
    (data / "manifest.json").write_text(json.dumps({"sha256": {shard.name: digest}}))
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    (run / "adapter_config.json").write_text("{}")
    (run / "adapter_model.safetensors").write_bytes(b"delta")
    (tmp_path / "build.yaml").write_text("sources: {snips: {path: '${oc.env:COALM_DATA}'}}\n")
    (tmp_path / "train.yaml").write_text(
        "model: {model_name: model}\n"
        "data: {train: {datasets: [{dataset_path: elsewhere}]}}\ntraining: {output_dir: run}\n"
    )
    (tmp_path / "eval.yaml").write_text(
        f"model: {{model_name: model, adapter_model: nothing}}\nsystem_prompt: {'long ' * 99}\n"
    )
    monkeypatch.setenv("COALM_DATA", str(raw))
    file = chain_of(
        tmp_path,
        build={"command": "true coalm build -c build.yaml", "outputs": ["data/manifest.json"]},
        train={
            "command": "true oumi train -c train.yaml --data.train.datasets[0].dataset_path ./data",
            "outputs": ["run"],
        },
        evaluate={"command": "true oumi evaluate -c eval.yaml --model.adapter_model=./run"},
    )
    chain = reproduce.load_chain(file, [])
    reproduce.run(chain)
    assert reasons(chain) == [None, None, None]
    return chain


def test_a_changed_raw_file_builds_again(trained: reproduce.Chain, tmp_path: Path):
    (tmp_path / "raw/a.json").write_text("[1]")
    assert reasons(trained)[0] == f"{tmp_path}/raw has changed"


def test_another_raw_folder_builds_again(
    trained: reproduce.Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("COALM_DATA", str(tmp_path / "other"))
    assert "other" in str(reasons(trained)[0])
    for value, state in (("", "is empty"), (None, "is not set")):
        monkeypatch.delenv("COALM_DATA") if value is None else monkeypatch.setenv(
            "COALM_DATA", value
        )
        with pytest.raises(CoalmError, match=f"build.yaml: .*COALM_DATA {state}"):
            reproduce.plan(trained)


def test_a_changed_prompt_builds_trains_and_evaluates_again(
    trained: reproduce.Chain, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reproduce.identity.prompts, "fingerprint", lambda *names: "another")
    assert reasons(trained) == ["prompts has changed"] * 3


def test_a_damaged_shard_builds_and_trains_again(trained: reproduce.Chain, tmp_path: Path):
    shard = tmp_path / "data/train-00000.parquet"
    shard.write_bytes(b"rowz")
    assert reasons(trained)[:2] == ["data/train-00000.parquet has changed", "data has changed"]
    shard.unlink()
    assert reasons(trained)[:2] == ["data/train-00000.parquet is gone", "data has changed"]


def test_changed_weights_are_noticed_and_changed_times_are_not(
    trained: reproduce.Chain, tmp_path: Path
):
    for file in tmp_path.rglob("*.*"):
        os.utime(file, (1, 1))
    (tmp_path / "run/README.md").write_text("a card")
    (tmp_path / "run/trainer_state.json").write_text("{}")
    assert reasons(trained) == [None, None, None]
    weights = tmp_path / "run/adapter_model.safetensors"
    state = weights.stat()
    weights.write_bytes(b"DELTA")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert reasons(trained)[1:] == [
        "run/adapter_model.safetensors has changed", "run has changed",
    ]  # fmt: skip
    weights.write_bytes(b"delta")
    (tmp_path / "model/model.safetensors").unlink()
    assert reasons(trained) == [None, "model has changed", "model has changed"]


def test_a_mixture_that_is_not_what_its_manifest_says_stops_the_stage(tmp_path: Path):
    (tmp_path / "data").mkdir()
    manifest = tmp_path / "data/manifest.json"
    manifest.write_text(json.dumps({"sha256": {"train-00000.parquet": "0"}}))
    file = chain_of(tmp_path, train={"command": "true", "inputs": [str(manifest)]})
    with pytest.raises(CoalmError, match=r"train-00000\.parquet is gone; build the mixture again"):
        reproduce.run(reproduce.load_chain(file, []))
    (tmp_path / "data/train-00000.parquet").write_bytes(b"x")
    with pytest.raises(CoalmError, match=r"differs from the hash in .*manifest\.json"):
        reproduce.run(reproduce.load_chain(file, []))


def test_the_time_of_the_whole_is_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = chain_of(
        tmp_path,
        one={"command": "true", "minutes": 2.5},
        two={"command": "true", "minutes": 4},
    )
    reproduce.run(reproduce.load_chain(file, []))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 of 2 stages to run, about 6 min in all")
    assert lines[1:3] == ["  one   2.5 min", "  two   4.0 min"]
    (after_one, after_two) = [line for line in lines if " so far" in line]
    assert after_one.startswith("[1/2] one: took 0 s") and after_one.endswith("about 4 min left")
    assert "left" not in after_two
    reproduce.run(reproduce.load_chain(file, []))
    assert "0 of 2 stages to run\n" in capsys.readouterr().out
