"""Throughput of `coalm cra generate`, beside the capacity of its server.

    python benchmarks/cra_generate.py [--concurrency 64] [--delay 0.5] [--rounds 20]

A server on loopback, in a separate process, takes any number of requests and answers each after
the given delay, as a GPU server with that many slots does. Its capacity is concurrency / delay
requests per second. Three sides ask for the same dialogues in one run: the whole command (prompts,
journal with fsync, budget, progress bar), the bare `openai` client behind a semaphore, and a plain
loop with one request at a time. The last lines print the ratios.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openai

from coalm_oumi.data.cra.generate import GenerateConfig, Generation
from coalm_oumi.files.resources import resource_dir

ROOT = Path(__file__).resolve().parent.parent
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.support.chat_server import ChatServer
from tests.data.cra.test_generate import well
with ChatServer(lambda request: well(request, delay=float(sys.argv[2]))) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def main() -> None:
    """Measures all sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds an answer takes")
    parser.add_argument("--rounds", type=int, default=20, help="requests per slot")
    options = parser.parse_args()
    count = options.concurrency * options.rounds
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ROOT), str(options.delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = dialogues(Path(folder) / "sgd", count)
            config = GenerateConfig(
                path=str(data),
                output_dir=str(Path(folder) / "out"),
                endpoint={
                    "model": "m",
                    "base_url": url,
                    "concurrency": options.concurrency,
                    "usd_per_million_input": 1.0,
                    "usd_per_million_output": 1.0,
                },
                sampling={"max_tokens": 1000},
                functions="dialogue",
            )
            with Generation(config) as generation:
                start = time.perf_counter()
                asyncio.run(generation.run(max_usd=1000))
                ours = count / (time.perf_counter() - start)
                assert generation.write()["transcripts"] == count
                prompts = [request.messages for request in generation.requests]
        bare = asyncio.run(bare_client(url, prompts, options.concurrency))
        loop = one_by_one(url, prompts[:4])
    finally:
        server.communicate("")
    best = options.concurrency / options.delay
    print(f"{count} requests, {options.concurrency} at a time, {options.delay} s each")
    print(f"{'the server, at most':<28}{best:>9.1f} requests/s")
    print(f"{'coalm cra generate':<28}{ours:>9.1f}")
    print(f"{'bare openai client':<28}{bare:>9.1f}")
    print(f"{'one after the other':<28}{loop:>9.1f}")
    print(f"ours / server      {ours / best:.3f}")
    print(f"ours / bare        {ours / bare:.3f}")
    print(f"ours / plain loop  {ours / loop:.1f}")


def dialogues(folder: Path, count: int) -> Path:
    """Writes as many dialogues of the package's samples as asked for."""
    samples = resource_dir("samples") / "sgd"
    records = [
        record
        for record in json.loads((samples / "dialogues_001.json").read_text())
        if record.get("services")
    ][:20]
    folder.mkdir()
    (folder / "schema.json").write_text((samples / "schema.json").read_text())
    (folder / "dialogues_001.json").write_text(
        json.dumps(
            [
                {**record, "dialogue_id": str(number)}
                for number, record in zip(range(count), itertools.cycle(records), strict=False)
            ]
        )
    )
    return folder


async def bare_client(url: str, prompts: list, concurrency: int) -> float:
    """Returns requests per second of the client alone."""
    slots = asyncio.Semaphore(concurrency)
    async with openai.AsyncOpenAI(api_key="none", base_url=url) as client:

        async def ask(messages: list) -> None:
            async with slots:
                await client.chat.completions.create(model="m", messages=messages)

        start = time.perf_counter()
        await asyncio.gather(*map(ask, prompts))
    return len(prompts) / (time.perf_counter() - start)


def one_by_one(url: str, prompts: list) -> float:
    """Returns requests per second of a plain loop."""
    start = time.perf_counter()
    with openai.OpenAI(api_key="none", base_url=url) as client:
        for messages in prompts:
            client.chat.completions.create(model="m", messages=messages)
    return len(prompts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
