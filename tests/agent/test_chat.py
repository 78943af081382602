"""`coalm chat` with a scripted model on a real server, and real Oumi environments."""

import asyncio
import io
import json
import os
import pty
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolParams
from referencing.exceptions import Unresolvable
from rich.console import Console

from coalm_oumi.agent import chat, recipe
from coalm_oumi.agent.chat import StreamedAnswer
from coalm_oumi.agent.example_tools import NotesServer
from coalm_oumi.agent.toolbox import Toolbox, ToolRefusedError, check_arguments
from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.mixture.build import build
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.formats.calls import FunctionCall
from tests.conftest import REPO
from tests.support import PATIENCE
from tests.support.chat_server import ChatServer, Reply, Request, completion, failure
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


def streamed_deltas(*deltas: dict[str, object]) -> Reply:
    """A streamed completion of these pieces."""
    body = "".join(
        "data: " + json.dumps(
            {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m",
             "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        ) + "\n\n"
        for delta in deltas
    )  # fmt: skip
    return Reply(f"{body}data: [DONE]\n\n".encode())


def called(index: int, name: str | None, arguments: str) -> dict[str, object]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "id": f"c{index}", "type": "function",
                            "function": function}]}  # fmt: skip


def test_native_calls_with_thoughts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answers = [
        streamed_deltas(
            {"reasoning": "I double"}, {"reasoning": " both."}, called(0, "Double", '{"num'),
            called(0, None, 'ber": 21}'), called(1, "Double", '{"number": 4}'),
        ),
        streamed_deltas({"reasoning": "I have them."}, {"content": "It is 42"}, {"content": " and 8."}),
    ]  # fmt: skip
    with answering(answers) as server:
        type_lines(monkeypatch, "Double 21 and 4", "/trace")
        file = write_recipe(tmp_path, server.url, form="native")
        assert main(["chat", "-c", str(file)]) == 0
        first, second = (request.json for request in server.requests)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["Double", "Break", "Wait"]
    assert [message["role"] for message in second["messages"]] == [
        "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    results = [m["content"] for m in second["messages"] if m["role"] == "tool"]
    assert results == ['{"result": 42}', '{"result": 8}']
    shown = capsys.readouterr().out
    assert "Agent: It is 42 and 8." in shown
    assert shown.count("Thought: I double both.") == 2, "as it comes, and in the trace"
    assert "Thought: I have them.\nSystem: It is 42 and 8." in shown


def test_only_the_first_of_several_actions_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    both = "Thought: Both.\nAction: Double(number=1)\nAction: Double(number=2)"
    with answering([both, "Action: Double(number=2)", "System: 2 and 4"]) as server:
        type_lines(monkeypatch, "Double 1 and 2")
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url))]) == 0
        asked = server.requests[1].json["messages"][-1]["content"]
    assert asked.endswith('Action: Double(number=1)\nObservation: {"result": 2}')
    assert capsys.readouterr().out.count("only the first action runs") == 1


@pytest.mark.parametrize("delta", [
    called(0, None, "x" * 40_000), {"content": "x" * 40_000}, {"reasoning": "x" * 40_000},
])  # fmt: skip
def test_an_answer_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], delta: dict
):
    with answering([streamed_deltas(delta, delta, delta), "System: Hello."]) as server:
        type_lines(monkeypatch, "One", "Two")
        assert main(["chat", "-c", str(write_recipe(tmp_path, server.url, form="native"))]) == 0
    shown = capsys.readouterr().out
    assert shown.count("error: the answer is longer than 100,000 characters") == 1
    assert "Hello." in shown


def test_a_template_that_refuses_the_messages(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").write_text("{{ raise_exception('no\\nsuch role') }}")
    type_lines(monkeypatch, "One", "Two")
    file = write_recipe(
        tmp_path, "", engine="NATIVE", remote_params=None,
        model={"model_name": str(model), "torch_dtype_str": "float32", "model_max_length": 2048},
    )  # fmt: skip
    assert main(["chat", "-c", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("error: the model gave no answer: no such role") == 2


def test_a_simulated_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The chat streams; the simulator asks the same server through Oumi's engine."""

    def respond(request: Request) -> Reply:
        if request.json.get("stream"):
            return streamed(answers.pop(0))
        return completion('{"temperature": 21}')

    answers = ["Action: Weather(city='Ely')", "System: 21 degrees."]
    tool = {
        "id": "Weather",
        "name": "Weather",
        "description": "Say the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    environment = {"id": "weather", "env_type": "simulated", "tools": [tool],
                   "env_kwargs": {"tool_persona": "You are a weather service."}}  # fmt: skip
    with ChatServer(respond) as server:
        type_lines(monkeypatch, "How warm is it in Ely?")
        file = write_recipe(
            tmp_path, server.url, environments=[environment], engine="REMOTE_VLLM", tool_timeout=20
        )
        assert main(["chat", "-c", str(file)]) == 0
        simulated, after = server.requests[1:]
    assert "You are a weather service." in simulated.json["messages"][0]["content"]
    assert after.json["messages"][-1]["content"].endswith('Observation: {"temperature": 21}')


def test_ctrl_c_in_a_terminal(tmp_path: Path):
    """The keys themselves, in a terminal: the turn ends, and the session goes on."""
    asked = threading.Event()

    def respond(request: Request) -> Reply:
        if "One" not in request.json["messages"][-1]["content"]:
            return streamed("System: Hello again.")
        asked.set()
        return Reply(delay=20)

    with ChatServer(respond) as server:
        file = write_recipe(tmp_path, server.url, max_steps=1)
        script = "import sys; from coalm_oumi.cli.app import main; sys.exit(main(sys.argv[1:]))"
        pid, terminal = pty.fork()
        if pid == 0:
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # `main` has forks of this process ignore it
            os.execv(sys.executable, [sys.executable, "-c", script, "chat", "-c", str(file)])
        until(terminal, "You: ")
        os.write(terminal, b"One\n")
        assert asked.wait(PATIENCE)
        os.write(terminal, b"\x03")
        assert "stopped; this turn is forgotten" in until(terminal, "You: ")
        os.write(terminal, b"Two\n")
        assert "Hello again." in until(terminal, "You: ")
        os.write(terminal, b"\x04")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(terminal)


def until(terminal: int, prompt: str) -> str:
    """Reads what the terminal shows up to the next prompt."""
    shown = ""
    while not shown.endswith(prompt):
        shown += os.read(terminal, 4096).decode()
    return shown


@pytest.fixture
def mcp_server() -> Iterator[str]:
    """An MCP server with tools that read, write, fail and hang."""
    uvicorn = pytest.importorskip("uvicorn")
    mcpserver = pytest.importorskip("mcp.server.mcpserver", reason="needs coalm-oumi[mcp]")
    from mcp.types import ToolAnnotations

    offered = mcpserver.MCPServer("notes", log_level="CRITICAL")
    notes: list[str] = []

    @offered.tool()
    def add_note(text: str) -> int:
        """Write a note down."""
        notes.append(text)
        return len(notes)

    @offered.tool(annotations=ToolAnnotations(read_only_hint=True))
    def first_note() -> str:
        """Read the first note."""
        return notes[0]

    @offered.tool()
    async def hang() -> None:
        """Hang."""
        await asyncio.sleep(60)

    server = uvicorn.Server(
        uvicorn.Config(offered.streamable_http_app(), port=0, log_level="critical")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    server.should_exit = server.force_exit = True
    thread.join()


def mcp(url: str, **kwargs: object) -> EnvironmentParams:
    return EnvironmentParams(
        id="notes", env_type="coalm-mcp", env_kwargs={"url": url, "timeout_seconds": 1, **kwargs}
    )


def test_the_tools_of_an_mcp_server(mcp_server: str):
    tools = Toolbox([mcp(mcp_server)], confirm=lambda tool, _: tool.id != "hang", timeout=10)
    described = {tool.id: (tool.description, tool.read_only) for tool in tools.tools}
    assert described == {
        "add_note": ("Write a note down.", False),
        "first_note": ("Read the first note.", True),
        "hang": ("Hang.", False),
    }
    assert "failed" in tools.call(FunctionCall("first_note"))
    assert tools.call(FunctionCall("add_note", {"text": "milk"})) == '{"result": 1}'
    assert tools.call(FunctionCall("first_note")) == '{"result": "milk"}'
    assert "'text' is a required property" in tools.call(FunctionCall("add_note"))
    assert "the user did not allow `hang`" in tools.call(FunctionCall("hang"))
    tools.close()
    unasked = Toolbox([mcp(mcp_server)], timeout=10)
    assert "no answer within 1 seconds" in unasked.call(FunctionCall("hang"))
    assert unasked.call(FunctionCall("first_note")) == '{"result": "milk"}'
    unasked.close()


def test_a_schema_s_reference_fetches_nothing(tmp_path: Path):
    (tmp_path / "secret.json").write_text('{"const": "secret"}')
    schema = {
        "type": "object",
        "properties": {
            "far": {"$ref": (tmp_path / "secret.json").as_uri()},
            "near": {"$ref": "#/$defs/word"},
        },
        "$defs": {"word": {"type": "string"}},
    }
    tool = ToolParams(id="find", name="find", description="Finds.", parameters=schema)
    check_arguments(tool, {"near": "x"})
    with pytest.raises(ToolRefusedError, match="argument `near`: 5 is not of type 'string'"):
        check_arguments(tool, {"near": 5})
    with pytest.raises(Unresolvable):  # a toolbox tells the model of any error
        check_arguments(tool, {"far": "guess"})


def test_an_mcp_server_that_is_away(mcp_server: str):
    for url in ("http://127.0.0.1:9/mcp", mcp_server.replace("/mcp", "/nosuch")):
        with pytest.raises(CoalmError, match=f"no MCP server answers at {url}: ") as found:
            Toolbox([mcp(mcp_server), mcp(url)], timeout=10)
        assert "\n" not in str(found.value)
    params = mcp(mcp_server)
    params.tools = [ToolParams(id="nosuch", name="x", description="x")]
    with pytest.raises(CoalmError, match="the server has no tool `nosuch`; it has add_note"):
        Toolbox([params], timeout=10)


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
    server = NotesServer(0)
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
