"""`style: official` against the package's own inference loops, without any model's weights."""

import asyncio
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs import (
    EvaluationConfig,
    EvaluationTaskParams,
    GenerationParams,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from oumi.inference import NativeTextInferenceEngine, RemoteVLLMInferenceEngine

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.bfcl import environment, task
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.dialogue import Participants, converse
from coalm_oumi.evaluation.bfcl.execution import Executor
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.files.journal import Journal
from coalm_oumi.llm.recorded import Question
from tests.support import PATIENCE, official_bfcl

LOCAL = "bfcl_eval.model_handler.local_inference"
FC_V4 = (
    "meta-llama/Llama-3.1-8B-Instruct-FC", "MadeAgents/Hammer2.1-7b", "Qwen/Qwen3-8B-FC",
    "Salesforce/Llama-xLAM-2-8b-fc-r",
)  # fmt: skip
"""What V4's table says is given functions as tools."""

MODELS = {
    # model: module, class, way, how it writes a call
    "uiuc-convai/CoALM-8B": (f"{LOCAL}.llama", "LlamaHandler", "prompting", "[NAME()]"),
    "meta-llama/Llama-3.1-8B-Instruct-FC": (
        f"{LOCAL}.llama_3_1", "LlamaHandler_3_1", "prompting", '{"name": "NAME", "parameters": {}}',
    ),
    "MadeAgents/Hammer2.1-7b": (
        f"{LOCAL}.hammer", "HammerHandler", "prompting", '[{"name": "NAME", "arguments": {}}]',
    ),
    "Salesforce/Llama-xLAM-2-8b-fc-r": (
        f"{LOCAL}.salesforce_llama", "SalesforceLlamaHandler", "prompting",
        '[{"name": "NAME", "arguments": {}}]',
    ),
    "ibm-granite/granite-20b-functioncalling": (
        f"{LOCAL}.granite", "GraniteHandler", "prompting",
        '<function_call> {"name": "NAME", "arguments": {}}',
    ),
    "Qwen/Qwen3-8B-FC": (
        f"{LOCAL}.qwen_fc", "QwenFCHandler", "prompting",
        '<think>\n\n</think>\n\n<tool_call>\n{"name": "NAME", "arguments": {}}\n</tool_call>',
    ),
    "Team-ACE/ToolACE-2-8B": (f"{LOCAL}.llama", "LlamaHandler", "prompting", "[NAME(x=3*10**8)]"),
    "gpt-4o-2024-11-20-FC": (
        "bfcl_eval.model_handler.api_inference.openai", "OpenAIHandler", "FC",
        '[{"name": "NAME", "arguments": {}}]',
    ),
    "gpt-4o-2024-11-20": (
        "bfcl_eval.model_handler.api_inference.openai", "OpenAIHandler", "prompting", "[NAME()]",
    ),
}  # fmt: skip
"""V3's; of these V4 keeps the local ones under the same names, with other code."""

MODELS_V4 = {
    **{
        name: (module, class_, "FC" if name in FC_V4 else way, form)
        for name, (module, class_, way, form) in MODELS.items()
        if module.startswith(LOCAL) and "granite" not in name
    },
    "ibm-granite/granite-20b-functioncalling": (
        f"{LOCAL}.granite", "GraniteFunctionCallingHandler", "FC",
        '<function_call> {"name": "NAME", "arguments": {}}',
    ),
    "kimi-k2-0905-preview-FC": (
        "bfcl_eval.model_handler.api_inference.kimi", "KimiHandler", "FC",
        '[{"name": "NAME", "arguments": {}}]',
    ),
    "kimi-k2-0905-preview": (
        "bfcl_eval.model_handler.api_inference.kimi", "KimiHandler", "prompting", "[NAME()]",
    ),
}  # fmt: skip
VERSIONS = {"v3": (V3, MODELS), "v4": (V4, MODELS_V4)}


class Scripted:
    """Answers the first step of a turn with a call and the second with words, as the reference."""

    def __init__(self, form: str, style: Official, entries: Sequence[BfclEntry]) -> None:
        self.form, self.style = form, style
        self.names = {(e.category, str(e.index)): e.functions[0]["name"] for e in entries}
        self.sent: dict[tuple[str, str], list[Any]] = {}

    def ask(self, questions: Sequence[Question], *, progress: bool = True) -> list[str]:
        answers = []
        for question in questions:
            category, index, *_ = question.key.split("/")
            sent = self.sent.setdefault((category, index), [])
            call = self.form.replace("NAME", self.names[category, index])
            answers.append("Done." if len(sent) % 2 else call)
            messages = [m.model_dump(mode="json", exclude_none=True) for m in question.messages]
            sent.append(messages[0]["content"] if self.style.text else _comparable(messages))
        return answers

    async def text(self, question: Question) -> str:
        return self.ask([question])[0]

    def hold(
        self,
        conversations: Iterable[Coroutine[Any, Any, None]],
        *,
        within: AbstractAsyncContextManager[Any],
    ) -> list[None]:
        async def all_of_them() -> list[None]:
            async with within:
                return await asyncio.gather(*conversations)

        return asyncio.run(all_of_them())


def _comparable(messages: Sequence[Any]) -> list[Any]:
    kept = ("role", "content", "tool_calls", "tool_call_id")
    return [{key: m[key] for key in kept if m.get(key) is not None} for m in messages]


def categories(version: Version) -> list[str]:
    """All but the one that takes torch and an encoder of several GB."""
    return [name for name in version.groups["all"] if name != "memory_vector"]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request) -> Version:
    return VERSIONS[request.param][0]


@pytest.fixture(scope="module")
def asked(version, tmp_path_factory) -> dict[tuple[str, str, str], Any]:
    """What we send, by model, category and index."""
    official_bfcl.installed(version)
    found: dict[tuple[str, str, str], Any] = {}
    web = tmp_path_factory.mktemp("web") / "web.jsonl"
    with BfclWorker(version) as worker, Journal(web, made_by={}) as journal:
        entries: dict[str, list[BfclEntry]] = {}
        for number, (model, (*_, form)) in enumerate(VERSIONS[version.name][1].items()):
            style = Official(model, **worker.describe(model))
            chosen = []
            for place, category in enumerate(categories(version)):
                if category in version.own_prompt and not style.varies_prompt:
                    continue
                if category not in entries:
                    entries[category] = worker.questions(category)
                entry = entries[category][number]  # no two models share one, as its calls change it
                if not entry.is_conversation or (place + number) % 3 == 0:
                    chosen.append(entry)
            scripted: Any = Scripted(form, style, chosen)
            single = [entry for entry in chosen if not entry.is_conversation]
            for entry, request in zip(single, worker.ask(model, single), strict=True):
                scripted.ask([Question(f"{entry.category}/{entry.index}", style.messages(request))])
            several = [entry for entry in chosen if entry.is_conversation]
            converse(Participants(scripted, worker, Executor(worker, journal), style), several)
            found |= {(model, *place): sent for place, sent in scripted.sent.items()}
    return found


@pytest.fixture(scope="module")
def reference(version, asked, tmp_path_factory) -> dict[tuple[str, str, str], Any]:
    """What the package's own loops send for the same samples."""
    models = VERSIONS[version.name][1]
    cases = [
        {"model": model, "model_name": model.removesuffix("-FC"), "module": module,
         "class": class_, "way": way, "form": form,
         "samples": [(c, int(index)) for name, c, index in asked if name == model]}
        for model, (module, class_, way, form) in models.items()
    ]  # fmt: skip
    done = subprocess.run(
        [
            official_bfcl.installed(version),
            *("-I", Path(official_bfcl.__file__).with_name("official_prompts.py")),
        ],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env=environment.variables(tmp_path_factory.mktemp("reference")),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    return {(model, category, str(index)): sent for model, category, index, sent in rows}


def test_every_prompt_is_the_handlers_byte_for_byte(version, reference, asked):
    compared = Counter(category for _, category, _ in reference)
    models = len(VERSIONS[version.name][1])
    assert min(compared[category] for category in categories(version)) >= 3
    assert compared["live_multiple"] == models
    for key, theirs in reference.items():
        if not isinstance(theirs[0], str):
            theirs = [_comparable(messages) for messages in theirs]
        assert asked[key] == theirs, key
        assert len(theirs) > 2 or "multi_turn" not in key[1]


def test_a_model_that_the_table_lacks_is_refused_with_names_close_to_it(tmp_path):
    official_bfcl.installed(V3)
    for data, message in (
        ({"style": "official", "model": "uiuc-convai/CoALM-9B"}, "such as uiuc-convai/CoALM-8B"),
        (
            {"style": "official", "model": "claude-3-7-sonnet-20250219"},
            "asks through an API|cannot be built",
        ),
        ({"style": "bfcl", "model": "x"}, "only `style: official` reads it"),
    ):
        with pytest.raises(CoalmError, match=message):
            official_bfcl.run_task(V3, None, tmp_path, {"categories": ["simple"], **data})


def _simple(engine: Any, folder: Path, **config: Any) -> tuple[Any, Any]:
    """Asks two samples of one turn as CoALM 8B's handler does. Returns values and records."""
    data = {"style": "official", "model": "uiuc-convai/CoALM-8B", "categories": ["simple"]}
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=2)
    result = task.bfcl_v3(
        params, EvaluationConfig(output_dir=str(folder), **config), engine, data=data
    )
    values = result.task_result["results"][V3.task]
    lines = (folder / values["answers"]).read_text().splitlines()
    return values, [json.loads(line) for line in lines]


def test_a_local_engine_gets_whole_prompts_for_the_time_of_the_task(tiny_model, tmp_path):
    official_bfcl.installed(V3)
    model = ModelParams(
        model_name=str(tiny_model),
        torch_dtype_str="float32",
        tokenizer_kwargs={"padding_side": "left"},
    )
    generation = GenerationParams(max_new_tokens=4, batch_size=2, temperature=0.0)
    engine = NativeTextInferenceEngine(model, generation_params=generation)
    tokenized: list[str] = []
    template, generate = engine._tokenizer.chat_template, engine._apply_chat_template_impl

    def watch(conversation: Any) -> str:
        tokenized.append(generate(conversation))
        return tokenized[-1]

    engine._apply_chat_template_impl = watch
    values, rows = _simple(engine, tmp_path, model=model, generation=generation)
    assert values["asked_as"] == "uiuc-convai/CoALM-8B"
    sent = {row["prompt"][0]["content"] for row in rows}
    assert sent == set(tokenized) and len(sent) == 2
    assert all(text.startswith("<|begin_of_text|><|start_header_id|>system") for text in sent)
    assert engine._tokenizer.chat_template == template


def test_a_server_is_asked_through_its_completions_api(tmp_path):
    official_bfcl.installed(V3)
    asked: list[tuple[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            reply = json.dumps(
                {
                    "choices": [{"text": "[f(x=1)]", "finish_reason": "stop", "index": 0}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    model = ModelParams(model_name="served")
    url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    remote = RemoteParams(api_url=url, num_workers=2, max_retries=0)
    generation = GenerationParams(max_new_tokens=4096, temperature=0.0)
    engine = RemoteVLLMInferenceEngine(
        model, generation_params=generation, remote_params=copy.deepcopy(remote)
    )
    _, rows = _simple(
        engine,
        tmp_path,
        model=model,
        generation=generation,
        inference_engine=InferenceEngineType.REMOTE_VLLM,
        inference_remote_params=remote,
    )
    server.shutdown()
    assert {path for path, _ in asked} == {"/v1/completions"}
    assert {body["prompt"] for _, body in asked} == {row["prompt"][0]["content"] for row in rows}
    assert all(body["max_tokens"] == 4096 and "messages" not in body for _, body in asked)
    assert [row["response"] for row in rows] == ["[f(x=1)]"] * 2
    assert engine._remote_params.api_url == url


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_judging_processes_end_with_a_killed_worker():
    official_bfcl.installed(V3)
    with BfclWorker(V3) as worker:
        process = worker._process
        rows = {"simple": [(index, "[f(x=1)]") for index in range(400)]}
        worker._send("score", without_dots=False, form="bracket", rows=rows)
        found: list[int] = []
        for _ in range(600):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            found = [int(pid) for pid in children.read_text().split()] or found
            if found:
                break
            time.sleep(0.05)
        assert found
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{pid}").exists() for pid in found):
            assert time.monotonic() < deadline, "a judging process outlived its worker"
            time.sleep(0.05)
