import json
from pathlib import Path

import pytest
import yaml

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.cra.judge import judge
from coalm_oumi.data.cra.validate import CraFinding
from coalm_oumi.data.cra.validation import CraVerdict, agreement, rates
from tests.conftest import REPO
from tests.support.chat_server import ChatServer, Reply, Request, completion, failure

SAMPLES = REPO / "coalm_oumi/data/samples"
TRANSCRIPTS = SAMPLES / "cra/transcripts.jsonl"


def recipe(server: ChatServer, folder: Path) -> Path:
    """The package's judge, at another place."""
    content = yaml.safe_load((REPO / "recipes/judge_cra.yaml").read_text())
    remote = content["inference_config"]["remote_params"]
    remote |= {"api_url": f"{server.url}/chat/completions", "max_retries": 0, "num_workers": 4}
    file = folder / "judge.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def verdict(judgment: bool) -> Reply:
    return completion(json.dumps({"explanation": "Turn 1.", "judgment": judgment}))


def stern(request: Request) -> Reply:
    """Finds a fault where flowers are sent."""
    return verdict("flowers" not in json.dumps(request.json["messages"]))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def test_the_judges_verdicts_are_read_and_asked_for_once(tmp_path: Path):
    questions = {"a": "Are flowers sent?", "b": "Is all well?"}
    with ChatServer(stern) as server:
        file = recipe(server, tmp_path)
        first = judge(questions, file, tmp_path / "journal.jsonl")
        second = judge(questions | {"c": "And now?"}, file, tmp_path / "journal.jsonl")
        assert len(server.requests) == 3
    assert {name: judgement.is_faulty for name, judgement in first.items()} == {
        "a": True,
        "b": False,
    }
    assert first["a"].explanation == "Turn 1."
    assert second.keys() == {"a", "b", "c"}
    assert "JSON" in json.dumps(server.requests[0].json)  # Oumi's own words on the form


def test_a_judge_that_cannot_be_read_or_reached(tmp_path: Path):
    with ChatServer(lambda _: completion("No idea.")) as server:
        judged = judge({"a": "?"}, recipe(server, tmp_path), tmp_path / "one.jsonl")
    assert (judged["a"].is_faulty, judged["a"].explanation) == (None, "No idea.")

    def half_dead(request: Request) -> Reply:
        return verdict(True) if "fine" in json.dumps(request.json) else failure(400)

    with ChatServer(half_dead) as server:
        file = recipe(server, tmp_path)
        assert judge({"a": "?", "b": "fine"}, file, tmp_path / "two.jsonl").keys() == {"b"}
        with pytest.raises(CoalmError, match="the judge gives no answer"):
            judge({"a": "?", "b": "fine"}, file, tmp_path / "two.jsonl")


def test_a_recipe_that_is_no_judge_of_ours(tmp_path: Path):
    with pytest.raises(CoalmError, match="no such file"):
        judge({}, tmp_path / "nosuch.yaml", tmp_path / "j.jsonl")
    content = yaml.safe_load((REPO / "recipes/judge_cra.yaml").read_text())
    content["judge_params"]["prompt_template"] = "{question} {answer}"
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(CoalmError, match="the only placeholder"):
        judge({}, file, tmp_path / "j.jsonl")


def test_the_command_from_transcripts_to_rates_and_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    people = tmp_path / "reviews.jsonl"
    names = [json.loads(line)["dialogue_id"] for line in TRANSCRIPTS.read_text().splitlines()]
    people.write_text(
        "".join(
            json.dumps(
                {"dialogue_id": name, "scores": {"reasoning": int(n > 0), "hallucination": 1}}
            )
            + "\n"
            for n, name in enumerate(names)
        )
    )
    bad = tmp_path / "transcripts.jsonl"
    records = [json.loads(line) for line in TRANSCRIPTS.read_text().splitlines()]
    records[1]["text"] = records[1]["text"].replace("'city': 'Bath'", "'city': 'Paris'")
    records[2]["text"] = "User: nothing else"
    bad.write_text("".join(json.dumps(record) + "\n" for record in records))
    with ChatServer(stern) as server:
        command = [
            "cra", "validate", str(bad), "--sgd", str(SAMPLES / "sgd"), "--functions", "dialogue",
            "--judge", str(recipe(server, tmp_path)), "--people", str(people),
        ]  # fmt: skip
        assert main(command) == 0
    printed = capsys.readouterr().out
    assert "The paper, by a person" in printed and "kappa" in printed
    folder = tmp_path / "validation"
    verdicts = {
        record["dialogue_id"]: record
        for record in map(json.loads, (folder / "validation.jsonl").read_text().splitlines())
    }
    (finding,) = verdicts[names[1]]["findings"]
    assert (finding["kind"], finding["turn"], finding["span"]) == ("hallucination", 1, "Paris")
    assert verdicts[names[2]]["faults"]["format"] is True
    valid = {
        json.loads(line)["dialogue_id"]
        for line in (folder / "valid.jsonl").read_text().splitlines()
    }
    faulty = {name for name, record in verdicts.items() if any(record["faults"].values())}
    assert valid == set(names) - faulty and {names[1], names[2]} <= faulty
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rates"]["hallucination"]["count"] == 1
    assert summary["agreement"]["hallucination"]["only_first"] == 1
    # What is valid is what the builder reads.
    assert main(["build", "-c", str(REPO / "recipes/data/demo.yaml"), "sources.sgd.limit=null",
                 f"sources.sgd.options.transcripts={folder / 'valid.jsonl'}",
                 f"output_dir={tmp_path / 'mixture'}"]) == 0  # fmt: skip


def test_the_questions_are_what_oumi_judges(tmp_path: Path):
    from oumi.judge import judge_dataset_file

    assert main(["cra", "validate", str(TRANSCRIPTS), "--sgd", str(SAMPLES / "sgd"),
                 "--output", str(tmp_path)]) == 0  # fmt: skip
    with ChatServer(stern) as server:
        outputs = judge_dataset_file(str(recipe(server, tmp_path)), tmp_path / "judge_input.jsonl")
    assert {output.field_values["judgment"] for output in outputs} == {True, False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch.jsonl", "--sgd", str(SAMPLES / "sgd")], "nosuch.jsonl: no such file"),
        ([str(TRANSCRIPTS), "--sgd", "nosuch"], "no such file"),
        ([str(TRANSCRIPTS), "--sgd", str(SAMPLES / "sgd"), "--functions", "x"], "neither `all`"),
        ([str(TRANSCRIPTS), "--sgd", str(SAMPLES / "sgd"), "--people", str(TRANSCRIPTS)],
         "1: expected dialogue_id and scores"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["cra", "validate", *arguments, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error


def test_rates_and_agreement_count_only_what_is_known():
    faulty = CraVerdict("a", [CraFinding("undefined_argument", "", 1, 0, 1)])
    clean = CraVerdict("b", [])
    found = rates(verdict.faults for verdict in (faulty, clean))
    assert "reasoning" not in found
    assert (found["undefined_function"].count, found["any"].value) == (1, 0.5)
    agreed = agreement([faulty, clean], {"a": {"undefined_function": True, "reasoning": True}})
    assert agreed.keys() == {"undefined_function"}
    assert agreed["undefined_function"].both == 1
