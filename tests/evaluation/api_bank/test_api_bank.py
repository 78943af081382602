import hashlib
import json
from pathlib import Path

import pytest
from oumi.core.configs import EvaluationConfig, EvaluationTaskParams, InferenceEngineType
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.types.conversation import Message, Role

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import similarity
from coalm_oumi.evaluation.api_bank import data as api_bank
from coalm_oumi.evaluation.api_bank import hammer, prompt, task
from coalm_oumi.evaluation.api_bank.options import ApiBankOptions
from coalm_oumi.evaluation.results import read_answers
from coalm_oumi.formats import calls

GOLDEN = json.loads((Path(__file__).parent / "golden/api_bank_metrics.json").read_text())


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["text"][:20])
def test_rouge_and_bleu_are_those_of_llama_factory(row: dict):
    """Recorded from its `ComputeSimilarity`, with which 1,052 damaged answers agreed as well."""
    found = similarity.llama_factory(row["text"], row["reference"])
    expected = [row[name] for name in ("rouge_1", "rouge_2", "rouge_l", "bleu_4")]
    assert [found.rouge_1, found.rouge_2, found.rouge_l, found.bleu_4] == expected


def test_names_and_arguments_are_counted_as_hammer_does():
    names = arguments = hammer.NOTHING
    for row in GOLDEN["rows"]:
        more = hammer.count(row["text"], calls.parse_json(row["reference"]))
        names, arguments = names + more[0], arguments + more[1]
    expected = [
        GOLDEN["hammer"][f"{m}_{part}"] for part in ("api", "param") for m in ("P", "R", "F1")
    ]
    assert [*names.scores(), *arguments.scores()] == pytest.approx(expected, abs=1e-12)


def test_word_level_variants_count_words():
    same = similarity.word_level("book a table", "book a table")
    assert (same.rouge_1, same.rouge_l) == (100, 100)
    other = similarity.word_level("table a book", "book a table")
    assert other.rouge_1 == 100 and other.rouge_l == pytest.approx(100 / 3)
    assert similarity.word_level("", "book a table") == similarity.Similarity(0, 0, 0, 0)
    # Of characters these are near; of words they have nothing in common.
    assert similarity.llama_factory("GetRoutes", "GetRoute").bleu_4 > 80
    assert similarity.word_level("GetRoutes", "GetRoute").rouge_1 == 0


def write_questions(file: Path) -> Path:
    tool = {"name": "BookTable", "description": "Books.", "parameters": {"day": {"type": "str"}}}
    query = [{"role": "user", "content": "A table, please."}, {"role": "agent", "content": "When?"},
             {"role": "user", "content": "Monday.\nGenerate API Request:"}]  # fmt: skip
    answers = [[{"name": "BookTable", "arguments": {"day": day}}] for day in ("Monday", "Friday")]
    file.write_text(json.dumps([{"query": query, "tools": [tool], "answers": a} for a in answers]))
    return file


class Scripted:
    def __init__(self, *answers: Message) -> None:
        self.answers, self.conversations = answers, []

    def infer_partial(self, conversations, config=None):
        answered = []
        for place, conversation in enumerate(conversations):
            self.conversations.append(conversation)
            index = int(conversation.conversation_id.rpartition("/")[2])
            messages = [*conversation.messages, self.answers[index]]
            answered.append((place, conversation.model_copy(update={"messages": messages})))
        return InferenceResult(successful=answered, failures={})


def evaluate(engine, folder: Path, data: dict, **config):
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom")
    result = task.api_bank(
        params, EvaluationConfig(output_dir=str(folder), **config), engine, data=data
    )
    ((label, values),) = result.task_result["results"].items()
    rows = [json.loads(line) for line in (folder / values["answers"]).read_text().splitlines()]
    return label, values, rows


def test_the_task_prints_table_3(tmp_path: Path):
    file = write_questions(tmp_path / "apibank_l1.json")
    right = '```\n[{"name": "BookTable", "arguments": {"day": "Monday"}}]\n```'
    wrong = '[{"name": "BookTable", "arguments": {"day": "Monday", "people": 2}}]'
    answers = [Message(role=Role.ASSISTANT, content=text) for text in (right, wrong)]
    label, values, rows = evaluate(Scripted(*answers), tmp_path / "out", {"path": str(file)})
    assert label == "coalm-oumi/api_bank/apibank_l1"
    assert values["ast_match"] == 0.5 and values["readable"] == 1
    assert (values["name_f1"], values["argument_precision"]) == (1, pytest.approx(1 / 3))
    assert 0.8 < values["rouge_l"] < 1 and values["word_rouge_l"] < 1
    assert [row["failure"] for row in rows] == [None, "wrong argument"]
    assert rows[0]["rouge_l"] == 100  # the fence is not compared
    assert rows[0]["offered"].startswith("BookTable(day: ")
    assert " ".join(rows[0]) == (
        "dialogue_id source offered input target prompt response parsed correct failure unreadable "
        "rouge_1 rouge_2 rouge_l bleu_4"
    )
    assert read_answers(tmp_path / "out" / values["answers"]) == rows
    (message,) = rows[0]["prompt"]
    assert message["role"] == "user"
    assert (
        "User: A table, please.\nAI: When?\nUser: Monday.\nGenerate API Request:"
        in message["content"]
    )


def test_native_tool_calls(tmp_path: Path):
    file = write_questions(tmp_path / "questions.json")
    call = {"id": "a", "function": {"name": "BookTable", "arguments": '{"day": "Monday"}'}}
    said = Message.model_validate({"role": "assistant", "content": None, "tool_calls": [call]})
    left_in_text = '<tool_call>{"name": "BookTable", "arguments": {"day": "Friday"}}</tool_call>'
    engine = Scripted(said, Message(role=Role.ASSISTANT, content=left_in_text))
    data = {"path": str(file), "style": "native"}
    _, values, rows = evaluate(engine, tmp_path, data, inference_engine=InferenceEngineType.REMOTE)
    assert values["ast_match"] == 1 and values["rouge_l"] == 1
    (tool,) = engine.conversations[0].to_dict()["tools"]
    assert tool["function"]["parameters"]["properties"] == {"day": {"type": "string"}}
    assert [message["role"] for message in rows[0]["prompt"]] == ["user", "assistant", "user"]


def test_odd_answers_leave_readable_files(tmp_path: Path):
    file = write_questions(tmp_path / "q.json")
    odd = [r'[{"name": "BookTable", "arguments": {"day": "\ud800", "people": 1e999}}]', "\ud800"]
    answers = [Message(role=Role.ASSISTANT, content=text) for text in odd]
    _, _, rows = evaluate(Scripted(*answers), tmp_path / "out", {"path": str(file)})
    assert [row["failure"] for row in rows] == ["format", "format"]  # 1e999 is not JSON
    assert rows[0]["parsed"] is None
    assert json.loads(json.dumps(rows)) == rows  # halves of surrogate pairs are written as `?`


def test_real_api_bank(shared: Path):
    folder = shared / "api_bank/hammer_original"
    for name, count in (("apibank_l1.json", 399), ("apibank_l2.json", 127)):
        assert len(api_bank.read(folder / name)) == count
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == api_bank.SHA256[name]
    first = api_bank.read(folder / "apibank_l1.json")[0]
    assert first.messages[-1]["content"].endswith("Generate API Request:")
    assert first.expected[0].name == "ModifyRegistration"


@pytest.mark.parametrize(("name", "count"), [("apibank_l1.json", 399), ("apibank_l2.json", 127)])
def test_every_prompt_equals_hammers(shared: Path, name: str, count: int):
    """The default style sends what Hammer's evaluation sends, for each question of the level."""
    official = json.loads((shared / "api_bank/hammer_prompts" / name).read_text(encoding="utf-8"))
    entries = api_bank.read(shared / "api_bank/hammer_original" / name)
    assert len(official) == len(entries) == count
    style = prompt.by_name(ApiBankOptions(path=name).style)
    for entry, record in zip(entries, official, strict=True):
        (message,) = style.ask(entry)
        assert message.role == Role.USER
        assert message.content == record["instruction"]
        assert calls.parse_json(record["output"]) == entry.expected


def test_figure_5_and_tools_show_requests_and_results(shared: Path):
    entries = api_bank.read(shared / "api_bank/hammer_original/apibank_l2.json")
    entry = next(e for e in entries if [m["role"] for m in e.messages[2:3]] == ["assistant"])
    result = entry.messages[3]["content"]
    (figure_5,) = prompt.by_name("coalm").ask(entry)
    assert "### Input:\n[BEGIN OF QUERY]\nUser: " in str(figure_5.content)
    assert f"]```->{result}\n" in str(figure_5.content)
    native = prompt.by_name("native").ask(entry)
    assert [message.role.value for message in native[1:4]] == ["assistant", "assistant", "tool"]
    (call,) = native[2].tool_calls or []
    assert (call.function.name, native[3].tool_call_id) == ("ToolSearcher", call.id)
    assert native[3].content == result


def test_a_file_of_hammers_repository_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(api_bank, "SOURCE", (tmp_path / "repository").as_uri())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CoalmError, match=r"apibank_l1\.json: cannot be downloaded .* give the path"
    ):
        api_bank.locate("apibank_l1.json")
    published = write_questions_into(tmp_path / "repository")
    with pytest.raises(CoalmError, match="the download is not the expected file"):
        api_bank.locate("apibank_l1.json")
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    monkeypatch.setattr(api_bank, "SHA256", {"apibank_l1.json": digest})
    kept = api_bank.locate("apibank_l1.json")
    published.unlink()
    assert api_bank.locate("apibank_l1.json") == kept and len(api_bank.read(kept)) == 2
    assert api_bank.locate("other.json") == Path("other.json")


def write_questions_into(folder: Path) -> Path:
    folder.mkdir()
    return write_questions(folder / "apibank_l1.json")


@pytest.mark.parametrize("tools", ["[]", '[{"name": "f"}]', "7"])
def test_bad_records(tmp_path: Path, tools: str):
    file = tmp_path / "apibank_l1.json"
    file.write_text(f'[{{"query": [{{"role": "user"}}], "tools": {tools}, "answers": []}}]')
    with pytest.raises(CoalmError, match=r"apibank_l1\.json\[0\]: not a record"):
        api_bank.read(file)


def test_a_prompt_style_that_api_bank_has_not(tmp_path: Path):
    data = {"path": str(write_questions(tmp_path / "q.json")), "style": "bfcl"}
    with pytest.raises(
        CoalmError, match="style: input should be 'hammer', 'coalm' or 'native', found 'bfcl'"
    ):
        evaluate(None, tmp_path, data)
