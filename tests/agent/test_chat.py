"""`coalm chat` with a scripted model on a real server, and real Oumi environments."""

import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from coalm_oumi.agent import chat, recipe
from coalm_oumi.agent.chat import StreamedAnswer
from coalm_oumi.agent.example_tools import notes_server
from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.mixture.build import build
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.formats.calls import FunctionCall
from tests.conftest import REPO
from tests.support.chat_server import ChatServer, Reply, failure
from tests.support.multiwoz_data import write_databases


def slow_tool(seconds: float) -> str:
    """A tool that hangs, as recipes name it."""
    threading.Event().wait(seconds)
    return "late"


def broken_tool() -> None:
    raise RuntimeError("the\ntool broke")


def streamed(text: str) -> Reply:
    """A streamed completion, three characters at a time."""
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    events = [
        {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m",
         "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        for piece in pieces
    ]  # fmt: skip
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return Reply(body.encode())


def answering(answers: Sequence[str | Reply]) -> ChatServer:
    rest = list(answers)

    def respond(_: object) -> Reply:
        answer = rest.pop(0)
        return answer if isinstance(answer, Reply) else streamed(answer)

    return ChatServer(respond)


TOOLS = [
    {"id": "Double", "name": "Double", "description": "Double a number.",
     "executor": "tests.agent.test_chat.double",
     "parameters": {"type": "object", "properties": {"number": {"type": "integer"}},
                    "required": ["number"]}},
    {"id": "Break", "name": "Break", "description": "Break.",
     "executor": "tests.agent.test_chat.broken_tool"},
    {"id": "Wait", "name": "Wait", "description": "Wait.", "read_only": False,
     "executor": "tests.agent.test_chat.slow_tool",
     "parameters": {"type": "object", "properties": {"seconds": {"type": "number"}}}},
]  # fmt: skip


def double(number: int) -> dict[str, int]:
    return {"result": 2 * number}


def write_recipe(folder: Path, url: str, **options: object) -> Path:
    content = {
        "model": {"model_name": "scripted"},
        "generation": {"max_new_tokens": 64, "temperature": 0.0},
        "engine": "REMOTE",
        "remote_params": {"api_url": f"{url}/chat/completions", "max_retries": 0},
        "tool_timeout": 0.5,
        "environments": [{"id": "python", "env_type": "coalm-python", "tools": TOOLS}],
    } | options
    file = folder / "chat.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def type_lines(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    """Answers each request for a line; an exception is what the user's keys raise."""
    rest: Iterator[str | type[BaseException]] = iter(lines)

    def read(_: str = "") -> str:
        line = next(rest, EOFError)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)


def test_a_turn_with_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answers = [
        "Thought: I double it.\nAction: Double(number=21)\nObservation: imagined",
        "Thought: I have it.\nSystem: It is 42.",
    ]
    with answering(answers) as server:
        type_lines(monkeypatch, "Double 21, please", KeyboardInterrupt, "/trace", "/nonsense")
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url))]) == 0
        prompts = [request.json["messages"][-1]["content"] for request in server.requests]
    assert "1. Double(number): Double a number." in prompts[0]
    assert prompts[1].endswith('Action: Double(number=21)\nObservation: {"result": 42}')
    shown = capsys.readouterr().out
    assert "Agent: It is 42." in shown and "imagined" not in shown
    assert 'Observation: {"result": 42}' in shown and "Action: Double(number=21)" in shown
    assert shown.count("/trace shows") == 2, "at the start, and for an unknown command"


@pytest.mark.parametrize(
    ("action", "observation"),
    [
        ("Tripple(number=1)", "there is no tool `Tripple`; the tools are Double, Break, Wait"),
        ("Double(number='x')", "`Double`, argument `number`: 'x' is not of type 'integer'"),
        ("Double()", "`Double`: 'number' is a required property"),
        ("Double(number=1, base=2)", "`Double` takes no `base`; it takes number"),
        ("Break()", "the tool broke"),
        ("Wait(seconds=30)", "`Wait` gave no answer within 0.5 seconds"),
    ],
)
def test_what_goes_wrong_is_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, observation: str
):
    with answering([f"Action: {action}", "System: Sorry."]) as server:
        type_lines(monkeypatch, "Go")
        file = write_recipe(tmp_path, server.url, confirm="never")
        assert main(["chat", "-c", str(file)]) == 0
        prompt = server.requests[1].json["messages"][-1]["content"]
    observed = json.loads(prompt.rpartition("Observation: ")[2])
    assert observed == {"status": "failed", "message": observation}


@pytest.mark.parametrize(("answer", "runs"), [("y", True), ("", False), (EOFError, False)])
def test_a_tool_that_writes_asks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, runs: bool
):
    with answering(["Action: Wait(seconds=0)", "System: Done."]) as server:
        type_lines(monkeypatch, "Go", answer)  # pyright: ignore[reportArgumentType]
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url))]) == 0
        prompt = server.requests[1].json["messages"][-1]["content"]
    assert prompt.endswith("Observation: late") == runs
    assert ("the user did not allow `Wait`" in prompt) == (not runs)


def test_the_session_survives_what_ends_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answers = [failure(400, "no such model"), "Thought: hm", "Thought: hm", "System: \x1b[2JHello."]
    with answering(answers) as server:
        type_lines(monkeypatch, "One", "Two", "/trace", "Three")
        file = write_recipe(tmp_path, server.url, max_steps=2)
        assert main(["chat", "-c", str(file)]) == 0
        last = server.requests[-1].json["messages"][-1]["content"]
    shown = capsys.readouterr().out
    assert "error: the server" in shown and "no such model" in shown
    assert "One" not in last, "a turn that failed is forgotten"
    assert "Agent: [2JHello." in shown and "\x1b[2J" not in shown


def test_ctrl_c_ends_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with answering(["Action: Wait(seconds=0)", "System: Hello."]) as server:
        type_lines(monkeypatch, "One", KeyboardInterrupt, "Two")
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url))]) == 0
    shown = capsys.readouterr().out
    assert "stopped; this turn is forgotten" in shown and "Agent: Hello." in shown


def test_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    type_lines(monkeypatch, "One", "Two")
    assert main(["chat", "-c", str(write_recipe(tmp_path, "http://127.0.0.1:9/v1"))]) == 0
    assert capsys.readouterr().out.count("does not answer") == 2


def test_a_saved_dialogue_is_training_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    saved, answers = tmp_path / "saved", [
        "Thought: I double it.\nAction: Double(number=21)", "System: It is 42.",
        "Thought: Nothing to do.\nSystem: Bye!", "Action: Double(number=1)",
        "Action: Double(number=2)", "System: 4",
    ]  # fmt: skip
    with answering(answers) as server:
        type_lines(monkeypatch, "Double 21", "Thanks", f"/save {saved}", "Twice", f"/save {saved}")
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url))]) == 0
    assert "turn 3 made 2 calls" in capsys.readouterr().out
    texts = [record["text"] for _, record in read_jsonl(saved / "transcripts.jsonl")]
    assert len(texts) == 2 and 'API Input: {"number": 21}' in texts[0]
    assert main(["cra", "validate", str(saved / "transcripts.jsonl"), "--sgd", str(saved)]) == 0
    assert "0/2" in capsys.readouterr().out
    config = load_config(
        REPO / "recipes/data/demo.yaml",
        [f"output_dir={tmp_path / 'data'}", f"sources.sgd.path={saved}",
         f"sources.sgd.options.transcripts={saved / 'transcripts.jsonl'}"],
    )  # fmt: skip
    folder = build(config)
    tables = [pq.read_table(file, columns=["output"]) for file in folder.glob("*.parquet")]
    outputs = [row["output"] for table in tables for row in table.to_pylist()]
    assert "Action: Double(number=21)" in outputs and "System: It is 42." in outputs


def test_booking_with_multiwoz_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    databases = write_databases(tmp_path / "db")
    answers = [
        "Action: query_restaurant(food='indian')",
        "Action: book_restaurant(name='the copper pot', people=2, day='friday', time='18:00')",
        "System: Booked.",
    ]
    with answering(answers) as server:
        type_lines(monkeypatch, "A table, please", "y")
        changes = [
            f"environments.0.env_kwargs.database={databases}",
            f"remote_params.api_url={server.url}/chat/completions",
        ]
        assert main(["chat", "-c", str(REPO / "recipes/chat/multiwoz.yaml"), *changes]) == 0
        assert '"reference": ' in server.requests[-1].json["messages"][-1]["content"]


def test_functions_and_an_endpoint_as_tools():
    server = notes_server(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        file = REPO / "recipes/chat/own_tools.yaml"
        url = f"environments.1.env_kwargs.endpoint_url=http://127.0.0.1:{server.server_port}/"
        _, options = recipe.read(file, [url])
        tools = Toolbox(recipe.environments(options, file), timeout=10)
        assert tools.call(FunctionCall("ConvertLength", {"metres": 2})) == '{"feet": 6.56}'
        assert '"notes": 1' in tools.call(FunctionCall("AddNote", {"text": "milk"}))
        assert tools.call(FunctionCall("ListNotes")) == '{"notes": ["milk"]}'
    finally:
        server.shutdown()
        server.server_close()
    assert "endpoint call failed" in tools.call(FunctionCall("ListNotes"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confirm": "maybe"}, "confirm: "),
        ({"colour": 1}, "colour"),
        ({"environments": [{"id": "a", "env_type": "nosuch"}]}, "Unknown env_type 'nosuch'"),
        ({"environments": [{"id": "a", "env_type": "lookup", "colour": 1}]}, "colour"),
        ({"environments": [{"id": "a", "env_type": "coalm-python", "tools": [
            {"id": "X", "name": "X", "description": "X", "executor": "no.such"}]}]}, "no.such"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict, message: str
):
    assert (
        main(["chat", "-c", str(write_recipe(tmp_path, "http://127.0.0.1:9/v1", **options))]) == 1
    )
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_demo_s_recipe_is_read():
    _, options = recipe.read(REPO / "recipes/chat/demo.yaml")
    (params,) = recipe.environments(options, Path("demo.yaml"))
    assert '"opens": "07:00"' in Toolbox([params]).call(
        FunctionCall("OpeningHours", {"shop": "bakery"})
    )
    with pytest.raises(CoalmError, match="no such file"):
        recipe.read(Path("nosuch.yaml"))


def test_labels_are_found_across_pieces():
    for size in (1, 2, 5, 100):
        out = io.StringIO()
        shown = StreamedAnswer(Console(file=out, force_terminal=True, width=200))
        text = "Thought: why: so\nSystem: Hi: there\nmore\nUser: imagined"
        for at in range(0, len(text), size):
            shown.add(text[at : at + size])
        shown.end()
        assert "Agent: " in out.getvalue() and "imagined" not in out.getvalue()
        assert "System:" not in out.getvalue() and "\x1b[2m" in out.getvalue()
    assert chat.clean("a\x1b[31mb\n") == "a[31mb\n"
