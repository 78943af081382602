"""A real `vllm serve` with a model that writes CoALM's form, and a client for it.

SmolLM2 learns a few dialogues by heart through `oumi train` and `coalm merge`, so that its answers
are known. Everything here is started once, and only where `make vllm-env` was run.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from coalm_oumi.agent import forms
from coalm_oumi.agent.session import AgentSession
from coalm_oumi.core.function import Function
from coalm_oumi.files.jsontext import write_jsonl
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.training.model_folder import save
from tests.conftest import REPO, run

PYTHON = Path(os.environ.get("COALM_VLLM_PYTHON", REPO / ".vllm-env/bin/python"))

NAME = "coalm"
FUNCTIONS = [
    Function("find_restaurant", "Find restaurants.", required=("city",), optional={"food": None}),
    Function("book_table", "Book a table.", required=("name", "people")),
]
ELY, YORK = "find_restaurant(city='Ely')", "find_restaurant(city='York')"
FOUND_IN_ELY = '[{"name": "The Old Mill"}]'
BOTH = (
    '[{"name": "find_restaurant", "arguments": {"city": "Ely"}}, '
    '{"name": "find_restaurant", "arguments": {"city": "York"}}]'
)
STEPS = 80
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
UNCLOSED = "find_restaurant(city='Ely'"
DIALOGUES: Sequence[Sequence[tuple[str, Sequence[str]]]] = [
    [
        ("Find me a restaurant in Ely.", [
            f"Thought: The user wants a restaurant in Ely.\nAction: {ELY}",
            "Thought: There is one.\nSystem: The Old Mill is in Ely."]),
        ("Book it for two.", [
            "Thought: The user wants a table.\nAction: book_table(name='The Old Mill', people=2)",
            "Thought: It worked.\nSystem: Booked. The reference is X7KQ2.\nEnjoy your meal!"]),
    ],
    [("Hello there!", ["Thought: The user greets me.\nSystem: Hello! How can I help?"])],
    [("What is there in Ely and in York?", [
        BOTH, "Thought: Each has one.\nSystem: The Old Mill in Ely and Bettys in York."])],
    [("Please break.", [f"Thought: I try.\nAction: {UNCLOSED}"])],
]  # fmt: skip


def observe(call: FunctionCall) -> str:
    """Plays the tools."""
    if call.name == "book_table":
        return '{"reference": "X7KQ2"}'
    return FOUND_IN_ELY if call.arguments["city"] == "Ely" else '[{"name": "Bettys"}]'


def records() -> Iterator[dict[str, str]]:
    """Yields what the model is asked and what it answers, as the agent writes it."""
    for dialogue in DIALOGUES:
        session = AgentSession(forms.coalm(FUNCTIONS), observe, max_steps=4)
        for user, answers in dialogue:
            session.hear(user)
            for answer in answers:
                asked = session.prompt().messages[-1].content
                yield {"instruction": str(asked), "input": "", "output": answer}
                session.take(answer)


@dataclass(frozen=True)
class Served:
    """The server.

    Attributes:
        url: Its base URL.
        model: The folder of the merged model.
        records: The file that the model knows by heart.
        log: What the server logs.
    """

    url: str
    model: Path
    records: Path
    log: Path

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key="none", max_retries=0)


def openai_tools() -> list[Any]:
    """Declares `FUNCTIONS` as a client does."""
    city = {"type": "string"}
    return [
        _tool(FUNCTIONS[0], {"city": city, "food": {"type": "string"}}),
        _tool(FUNCTIONS[1], {"name": {"type": "string"}, "people": {"type": "integer"}}),
    ]


def _tool(function: Function, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(function.required)}
    return {
        "type": "function",
        "function": {
            "name": function.name, "description": function.description, "parameters": parameters,
        },
    }  # fmt: skip


def tiny_base(folder: Path, known: Sequence[dict[str, str]]) -> Path:
    """Makes a random Llama of 4 million parameters with a tokenizer for these records.

    The instruction, which all records share, is one token: so training takes seconds.
    """
    import tokenizers
    import torch
    import transformers

    end = "[END OF FORMAT INSTRUCTION]"
    instruction = known[0]["instruction"].partition(end)[0] + end
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.train_from_iterator(
        [text.removeprefix(instruction) for record in known for text in record.values()],
        tokenizers.trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.add_tokens([tokenizers.AddedToken(instruction, normalized=False)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,  # vLLM has a kernel for heads of 64
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save(transformers.LlamaForCausalLM(config), folder)
    save(tokenizer, folder)
    return folder


def train(folder: Path) -> Path:
    """Teaches the dialogues to a tiny model and returns the merged one."""
    known = list(records())
    (folder / "records").mkdir()
    for split in ("train", "validation"):
        write_jsonl(folder / "records" / f"{split}.jsonl", known)
    base = tiny_base(folder / "base", known)
    recipe = yaml.safe_load((REPO / "recipes/coalm_demo.yaml").read_text())
    recipe["model"] |= {"model_name": str(base), "torch_dtype_str": "float32"}
    recipe["model"]["model_max_length"] = 2048
    (dataset,) = recipe["data"]["train"]["datasets"]
    dataset |= {"dataset_path": str(folder / "records"), "dataset_kwargs": {}}
    recipe["training"] |= {
        "max_steps": STEPS,
        "per_device_train_batch_size": len(known),
        "learning_rate": 2e-3,
        "output_dir": str(folder / "train"),
    }
    recipe["peft"] |= {"lora_r": 64, "lora_alpha": 128}
    (folder / "train.yaml").write_text(yaml.safe_dump(recipe))
    for command in (
        ["oumi", "train", "-c", "train.yaml"],
        ["coalm", "merge", "train", "merged", "--dtype", "float32"],
    ):
        done = run(*command, cwd=folder)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "merged"


def install_beside(python: Path, folder: Path) -> Path:
    """Installs the package as docs/serving.md says, into a folder that vLLM's Python then reads."""
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", REPO]
    install = [python, "-m", "pip", "install", "--no-deps", "--target", folder / "site"]
    done = run(*wheel, "--wheel-dir", folder, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    done = run(*install, *folder.glob("*.whl"), cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "site"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, started once."""
    if not PYTHON.exists():
        pytest.skip("no vLLM here: make vllm-env")
    folder = tmp_path_factory.mktemp("served")
    model = train(folder)
    site = install_beside(PYTHON, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PYTHON, "-m", "vllm.entrypoints.cli.main", "serve", model, "--served-model-name", NAME,
        "--enable-auto-tool-choice", "--tool-call-parser", "coalm", "--reasoning-parser", "coalm",
        "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager",
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(site), "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    environment.pop("OUMI_EXTRA_DEPS_FILE", None)
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health", server, folder / "server.log")
        yield Served(f"{url}/v1", model, folder / "records/train.jsonl", folder / "server.log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no server:\n{log.read_text()[-3000:]}")
