"""MultiWOZ's agent, users and task: through real Oumi, against a real server on loopback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from oumi.core.configs import EvaluationConfig
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.types.conversation import Conversation, Message, Role

from coalm_oumi.agent.session import STOPPED_REPLY
from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz import data
from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.rollout import Asking, roll_out
from coalm_oumi.evaluation.results import read_answers
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactAnswer, ReactError
from coalm_oumi.llm.recorded import RecordedModel
from tests.support.chat_server import ChatServer, Reply, Request, completion, failure
from tests.support.multiwoz_data import TABLE, write_archive, write_databases

COALM, AUTOTOD = FORMATS["coalm"], FORMATS["autotod"]


def say(text: str) -> ReactAnswer:
    return ReactAnswer("", reply=text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Thought: look\nAction: query_hotel(area='north', stars=4)",
         ReactAnswer("look", (FunctionCall("query_hotel", {"area": "north", "stars": 4}),))),
        ("I look.\nAction: query_police()\nObservation: made up\nSystem: hi",
         ReactAnswer("I look.", (FunctionCall("query_police"),))),
        ("System: Hello!\nHow are you?\nUser: fine", say("Hello!\nHow are you?")),
        ("**Thought:** ok\n**System:** Hi", ReactAnswer("ok", reply="Hi")),
        ("Hello!", say("Hello!")),
        ('[{"name": "query_police", "arguments": {}}, {"name": "now", "arguments": {}}]',
         ReactAnswer("", (FunctionCall("query_police"), FunctionCall("now")))),
    ],
)  # fmt: skip
def test_coalm_s_format_is_read(text: str, answer: ReactAnswer):
    assert COALM.parse(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Thought: Do I need to use a tool? Yes\nAction: Hotel Reservation\nAction Input: name: the "
         "oak, north wing, people: 2, day: monday, stay: 3\nObservation: x",
         ReactAnswer("Do I need to use a tool? Yes", (FunctionCall("book_hotel", {
             "name": "the oak, north wing", "people": "2", "day": "monday", "stay": "3"}),))),
        ("Action: Train Query\nAction Input: departure: ely\n leave  time :  09:30" + " " * 500,
         ReactAnswer("", (FunctionCall("query_train", {"departure": "ely", "leave time": "09:30"}),))),
        ("Thought: Do I need to use a tool? Yes\nAction: Hotel Query\nAction Input: area=north and stars=4",
         ReactAnswer("Do I need to use a tool? Yes",
                     (FunctionCall("query_hotel", {"area": "north", "stars": "4"}),))),
        ("Thought: Do I need to use a tool? No\nAction: None\nAI Assistant: Hello",
         ReactAnswer("Do I need to use a tool? No", reply="Hello")),
        ('Action: query_train\nAction Input: {"departure": "ely"}',
         ReactAnswer("", (FunctionCall("query_train", {"departure": "ely"}),))),
        ("Thought: Do I need to use a tool? No\nAI Assistant: Hello\nHuman: more",
         ReactAnswer("Do I need to use a tool? No", reply="Hello")),
    ],
)  # fmt: skip
def test_autotod_s_format_is_read(text: str, answer: ReactAnswer):
    assert AUTOTOD.parse(text) == answer


@pytest.mark.parametrize(
    "text", ["", "Action: go north", "Action: [ ]", "Observation: x", "System:"]
)
def test_what_is_neither_an_action_nor_a_reply(text: str):
    with pytest.raises(ReactError, match=r"Action: function_name|or `System"):
        COALM.parse(text)


@given(st.text(alphabet="ActionSystemThugIpu: \n(){}[]'\"=,x1", max_size=60))
def test_any_text_is_an_answer_or_a_react_error(text: str):
    for form in FORMATS.values():
        try:
            answer = form.parse(text)
        except ReactError:
            continue
        assert bool(answer.calls) != (answer.reply is not None)


def converse(
    tmp_path: Path, answers: Callable[[str], str], *, max_steps: int = 5, form=COALM, history="own"
):
    """Leads the dialogue about the table with a model that is a function."""
    asked: list[str] = []

    class Engine:
        def infer_partial(self, conversations):
            (conversation,) = conversations
            asked.append(str(conversation.messages[-1].content))
            said = Message(role=Role.ASSISTANT, content=answers(asked[-1]))
            usage = {"prompt_tokens": 1, "completion_tokens": 1}
            answered = Conversation(
                messages=[*conversation.messages, said], metadata={"usage": usage}
            )
            return InferenceResult(successful=[(0, answered)], failures={})

    config = EvaluationConfig(output_dir=str(tmp_path / "out"))
    with RecordedModel(Engine(), config, "multiwoz") as model:
        (rollout,) = roll_out(
            [data.dialogue("TABLE", TABLE, Path("x"))],
            database=Database(write_databases(tmp_path / "db")),
            asking=Asking(form, max_steps, history), model=model, user=None, concurrency=4,
        )  # fmt: skip
    return rollout, asked


def test_a_dialogue_with_its_trace(tmp_path: Path):
    rollout, asked = converse(tmp_path, model)
    assert [turn.reply for turn in rollout.turns] == [
        "The Copper Pot?", "Its phone is 01223000001. 19:00 is taken, sorry.",
        f"Booked, the reference is {rollout.bookings[0].reference}.",
    ]  # fmt: skip
    assert [len(turn.steps) for turn in rollout.turns] == [2, 2, 2]
    assert rollout.usage == Usage(6, 6)
    last = asked[-1]
    history, _, now = last.partition("### Input:")
    assert "Observation: " in history and "System: The Copper Pot?" in history
    assert now.strip().startswith("User: 18:00 then.\nThought: book\nAction: book_restaurant(")


def test_autotod_keeps_only_what_was_said(tmp_path: Path):
    def answers(prompt: str) -> str:
        if prompt.rstrip().endswith("}"):
            return "Thought: Do I need to use a tool? No\nAI Assistant: Here."
        return "Thought: Do I need to use a tool? Yes\nAction: Restaurant Query\nAction Input: area: centre\nObservation: {made up}"

    rollout, asked = converse(tmp_path, answers, form=AUTOTOD)
    assert len(rollout.turns) == 3
    assert asked[1].endswith("}") and "made up" not in asked[1] and '"count": 1' in asked[1]
    assert "Human: Indian food in the centre, please.\nAI Assistant: Here.\n" in asked[-1]
    assert asked[-1].count("Observation: {") == 1, "the trace of earlier turns is not shown"


def test_the_agent_may_see_the_human_operator_s_replies(tmp_path: Path):
    rollout, asked = converse(tmp_path, lambda _: "System: mine", history="reference")
    assert [turn.reply for turn in rollout.turns] == ["mine"] * 3
    operator = [turn.system for turn in rollout.dialogue.turns]
    assert f"System: {operator[0]}" in asked[1] and f"System: {operator[1]}" in asked[2]
    assert "mine" not in asked[2]


def test_several_calls_of_one_answer_are_all_carried_out(tmp_path: Path):
    call = '{"name": "query_restaurant", "arguments": {"food": "indian", "area": "%s"}}'
    answers = iter([f"[{call % 'centre'}, {call % 'north'}]", *["System: Here."] * 3])
    rollout, asked = converse(tmp_path, lambda _: next(answers))
    first, second, reply = rollout.turns[0].steps
    assert (first.decision.call.arguments["area"], second.decision.call.arguments["area"]) == (
        "centre", "north",
    )  # fmt: skip
    assert '"count": 1' in first.observation and '"count": 0' in second.observation
    assert reply.decision.reply == "Here." and asked[1].count("Observation: ") == 2


def test_an_unreadable_answer_is_corrected_and_steps_are_limited(tmp_path: Path):
    rollout, asked = converse(tmp_path, lambda _: "Thought: hm", max_steps=2)
    assert [turn.reply for turn in rollout.turns] == [STOPPED_REPLY] * 3
    assert "hm\nObservation: there is a thought, but no action and no reply; write" in asked[1]
    assert rollout.turns[0].steps[0].decision is None


def model(prompt: str) -> str:
    """A model that does well on the two test dialogues, in CoALM's format."""
    now = prompt.rpartition("### Input:")[2]
    lines = [line for line in now.splitlines() if line.startswith("Observation: ")]
    seen = json.loads(lines[-1].removeprefix("Observation: ")) if lines else None
    if "Ely" in now:
        if seen is None:
            return "Action: query_train(departure='cambridge', destination='ely', day='monday', leaveAt='10:00')"
        return "System: TR0002 for 4.40 pounds."
    if "Indian" in now:
        return (
            "System: The Copper Pot?"
            if seen
            else "Action: query_restaurant(food='indian', area='centre')"
        )
    time_ = "19:00" if "19:00" in now else "18:00"
    if seen is None:
        return f"Thought: book\nAction: book_restaurant(name='the copper pot', people=2, day='friday', time='{time_}')"
    if seen["status"] == "failed":
        return "System: Its phone is 01223000001. 19:00 is taken, sorry."
    return f"System: Booked, the reference is {seen['reference']}."


def respond(request: Request) -> Reply:
    """Plays the agent; the user and the judge where their prompts ask for them."""
    prompt = request.json["messages"][-1]["content"]
    if prompt.startswith("Play a user"):
        spoken = prompt.rpartition("Current conversation:")[2].count("User: ")
        return completion(
            ["18:00 then.", "Dialogue Ends"][spoken - 1] if "Indian" in prompt else "Dialogue Ends."
        )
    if "answer the questions" in prompt:
        return completion(
            '{"name": "Copper Pot", "reference": "none", "phone": "01223000001", "trainID": "TR0002", "price": "4.40 pounds"}'
        )
    return completion(model(prompt))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    archive = write_archive(tmp_path / "MULTIWOZ2.4")
    databases = write_databases(tmp_path / "db")

    def write(server: ChatServer, **options: object) -> Path:
        options = {
            "path": str(archive), "database": str(databases), "version": "2.4", "format": "coalm",
        } | options  # fmt: skip
        config = {
            "model": {"model_name": "scripted"},
            "generation": {"max_new_tokens": 64, "temperature": 0.0},
            "inference_engine": "REMOTE",
            "inference_remote_params": {
                "api_url": f"{server.url}/chat/completions", "num_workers": 16, "max_retries": 0,
            },
            "tasks": [{"evaluation_backend": "custom", "task_name": "coalm-oumi/multiwoz",
                       "eval_kwargs": {"data": options}}],
            "output_dir": str(tmp_path / "out"),
        }  # fmt: skip
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    return write


def evaluate(file: Path):
    """Runs the recipe in this process."""
    from oumi.core.configs import EvaluationConfig
    from oumi.core.evaluation import Evaluator

    (result,) = Evaluator().evaluate(EvaluationConfig.from_yaml(file))
    return result.task_result["results"][result.task_name]


def test_corpus_mode_with_both_judges(tmp_path: Path, recipe: Callable[..., Path]):
    with ChatServer(respond) as server:
        judging = {"model": "gpt", "base_url": server.url, "usd_per_million_input": 1.0,
                   "usd_per_million_output": 2.0}  # fmt: skip
        options = {"judge": judging, "usd_per_million_input": 1.0, "usd_per_million_output": 0.5}
        found = evaluate(recipe(server, **options))
        assert (found["success"], found["inform"], found["book"]) == (1.0, 1.0, 1.0)
        assert (found["success_c2r"], found["inform_c2r"], found["readable"]) == (1.0, 1.0, 1.0)
        assert found["joint_goal_accuracy"] == 1.0
        assert found["llm_book"] == 0.0 and found["agreement"] == 4 / 5
        assert found["num_samples"] == 2 and found["version"] == "2.4"
        assert found["spent"]["agent"] == {"input_tokens": 80, "output_tokens": 40, "usd": 100e-6}
        assert found["spent"]["judge"] == {"input_tokens": 20, "output_tokens": 10, "usd": 40e-6}
        before = len(server.requests)
        assert evaluate(recipe(server, **options)) == found
        assert len(server.requests) == before, "nothing is asked twice"
    page = (tmp_path / "out" / found["table"]).parent / "dialogues" / "TABLE.html"
    assert "Its phone is 01223000001" in page.read_text()
    file = tmp_path / "out" / found["answers"]
    verdicts = [verdict for _, verdict in read_jsonl(file)]
    assert read_answers(file) == verdicts
    assert " ".join(verdicts[0]) == (
        "dialogue_id inform success book success_c2r_official turns turns_right source input "
        "target response correct failure reason unreadable"
    )


def test_a_cut_answer_is_marked(tmp_path: Path, recipe: Callable[..., Path]):
    def cut(request: Request) -> Reply:
        body = respond(request).body
        return Reply(body.replace(b'"stop"', b'"length"'))

    with ChatServer(cut) as server:
        found = evaluate(recipe(server))
        assert found["cut"] == 1.0
        assert evaluate(recipe(server)) == found, "the mark is recorded"
    page = (tmp_path / "out" / found["table"]).parent / "dialogues" / "TABLE.html"
    assert "cut at max_new_tokens" in page.read_text()


def test_jga_with_the_reference_replies_in_the_history(recipe: Callable[..., Path]):
    from oumi.core.configs import EvaluationConfig
    from oumi.core.evaluation import Evaluator

    with ChatServer(respond) as server:
        config = EvaluationConfig.from_yaml(recipe(server, history="reference"))
        (result,) = Evaluator().evaluate(config)
    assert result.task_name == "coalm-oumi/multiwoz/2.4/reference/coalm"
    assert result.task_result["results"][result.task_name]["joint_goal_accuracy"] == 1.0


def test_a_simulated_user(tmp_path: Path, recipe: Callable[..., Path]):
    with ChatServer(respond) as server:
        file = recipe(server, user={"model": "gpt", "base_url": server.url})
        found = evaluate(file)
        # A kill before the dialogues' ends: what was said is not paid for again.
        for journal in (tmp_path / "out").rglob("dialogues.*.jsonl"):
            journal.unlink()
        asked = len(server.requests)
        assert evaluate(file) == found and len(server.requests) == asked
    assert (found["success"], found["book"]) == (0.5, 1.0), "this user never asks for the phone"
    assert "joint_goal_accuracy" not in found, "there is no state to compare with"
    assert found["spent"]["user"]["output_tokens"] == 15


def test_a_broken_dialogue_is_recorded_and_tried_again(tmp_path: Path, recipe: Callable[..., Path]):
    faults = ["TR0002"]

    def breaks(request: Request) -> Reply:
        prompt = request.json["messages"][-1]["content"]
        if faults and faults[0] in prompt:
            return failure(400, "too long")
        return respond(request)

    with ChatServer(breaks) as server:
        found = evaluate(recipe(server))
        assert (found["finished"], found["success"]) == (0.5, 0.5)
        verdicts = [row for _, row in read_jsonl(tmp_path / "out" / found["answers"])]
        assert sum(row["success"] for row in verdicts) / len(verdicts) == found["success"]
        right, turns = (sum(row[key] for row in verdicts) for key in ("turns_right", "turns"))
        assert right / turns == found["joint_goal_accuracy"] < 1
        by_failure = {row["failure"]: row for row in verdicts}
        assert set(by_failure) == {None, "broken off"}
        assert "too long" in by_failure["broken off"]["reason"]
        assert by_failure[None]["correct"] and "query_restaurant" in by_failure[None]["response"]
        assert main(["errors", str(tmp_path / "out")]) == 0
        page = (tmp_path / "out" / "errors.html").read_text()
        assert "broken off" in page and by_failure["broken off"]["dialogue_id"] in page
        faults.clear()
        before = len(server.requests)
        found = evaluate(recipe(server))
        assert len(server.requests) == before + 1, "only what broke is asked again"
    assert (found["finished"], found["success"]) == (1.0, 1.0)


def test_a_server_that_answers_nothing_stops_the_run(tmp_path: Path, recipe: Callable[..., Path]):
    with (
        ChatServer(lambda _: failure(404, "no such model")) as server,
        pytest.raises(CoalmError, match=r"answers nothing: .*no such model"),
    ):
        evaluate(recipe(server))


def test_a_judge_that_answers_nothing_stops_the_run(recipe: Callable[..., Path]):
    def no_judge(request: Request) -> Reply:
        asks = "answer the questions" in request.json["messages"][-1]["content"]
        return completion("I cannot say.") if asks else respond(request)

    with ChatServer(no_judge) as server:
        file = recipe(server, judge={"model": "gpt", "base_url": server.url})
        with pytest.raises(CoalmError, match=r"the judge gpt answered no question: .*JSON"):
            evaluate(file)


def test_the_last_dialogues_may_break_each_for_a_reason_of_its_own(recipe: Callable[..., Path]):
    with ChatServer(lambda _: failure(400, "too long")) as server:
        assert evaluate(recipe(server))["finished"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 1}, "unknown key `colour`; the keys are other_base, path, database"),
        ({"format": "xml"}, "format: input should be 'autotod' or 'coalm', found 'xml'"),
        ({"max_steps": 0}, "max_steps: input should be greater than or equal to 1, found 0"),
        ({"history": "none"}, "history: input should be 'own' or 'reference', found 'none'"),
        ({"history": "reference", "user": {"model": "gpt"}}, "history: a simulated user answers"),
        ({"version": "2.1"}, "the recipe 2.1"),
        ({"user": {"base_url": "http://x"}}, "data: expected the key `user.model`"),
    ],
)
def test_what_a_recipe_cannot_say(recipe: Callable[..., Path], options: dict, message: str):
    with ChatServer(respond) as server, pytest.raises(CoalmError, match=message):
        evaluate(recipe(server, **options))


def test_a_local_model(tmp_path: Path, tiny_model: Path, recipe: Callable[..., Path]):
    """Oumi's native engine, in batches, with a model that writes noise."""
    with ChatServer(respond) as server:
        file = recipe(server, max_steps=2)
    config = yaml.safe_load(file.read_text())
    config |= {
        "model": {"model_name": str(tiny_model), "torch_dtype_str": "float32",
                  "tokenizer_kwargs": {"padding_side": "left"}},
        "generation": {"max_new_tokens": 4, "batch_size": 2, "temperature": 0.0},
        "inference_engine": "NATIVE",
    }  # fmt: skip
    del config["inference_remote_params"]
    file.write_text(yaml.safe_dump(config))
    found = evaluate(file)
    # Words without a label are a reply, whatever they say.
    assert (found["finished"], found["readable"], found["success"]) == (1.0, 1.0, 0.0)
    assert found["joint_goal_accuracy"] == 0.0


def test_the_pages_escape_what_a_model_writes_and_name_its_adapter(
    tmp_path: Path, recipe: Callable[..., Path]
):
    evil = "<script>alert(1)</script>\x1b]0;x\x07"
    with ChatServer(lambda _: completion(f"System: {evil}")) as server:
        file = recipe(server)
        config = yaml.safe_load(file.read_text())
        config["model"]["adapter_model"] = "output/tuned"
        file.write_text(yaml.safe_dump(config))
        found = evaluate(file)
    pages = list((tmp_path / "out" / found["table"]).parent.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        assert "scripted + output/tuned" in text
        assert "<script" not in text and "prefers-color-scheme: dark" in text
        assert "\x1b" not in text and "\x07" not in text


def test_names_that_differ_in_a_slash_have_pages_of_their_own(
    tmp_path: Path, recipe: Callable[..., Path]
):
    names = ["a/b", "a_b", "a\\b", "../a_b", "a\x1bb"]
    file = tmp_path / "dialogues.json"
    file.write_text(json.dumps(dict.fromkeys(names, TABLE)))
    with ChatServer(respond) as server:
        found = evaluate(recipe(server, path=str(file)))
    home = (tmp_path / "out" / found["table"]).parent
    pages = list(home.rglob("dialogues/*.html"))
    assert len(pages) == len(names)
    index = (home / "index.html").read_text()
    assert all(f"dialogues/{page.name}" in index for page in pages)
