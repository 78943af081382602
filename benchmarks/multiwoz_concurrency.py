"""MultiWOZ's dialogues side by side: ours beside one after another, as AutoTOD leads them.

    python benchmarks/multiwoz_concurrency.py ARCHIVE DATABASE [--dialogues 256] [--delay 0.5]

ARCHIVE and DATABASE are MultiWOZ's, as in `recipes/eval_multiwoz.yaml`. Both sides ask the same
server on loopback, which answers every request after the same delay, and run the same agent over
the reference users: each turn one query and one reply. One after another means one live dialogue
and one request at a time, which is what AutoTOD's `batch_run.py` does; it is measured on the first
few dialogues. The last line prints the ratio of turns a second.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from oumi.builders.inference_engines import build_inference_engine
from oumi.core.configs import GenerationParams, InferenceEngineType, ModelParams, RemoteParams

from coalm_oumi.evaluation.multiwoz import data
from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.rollout import Asking, roll_out
from coalm_oumi.evaluation.multiwoz.user import corpus
from coalm_oumi.llm.recorded import generate
from tests.support.chat_server import ChatServer, Reply, Request, completion

CONCURRENCY = 64


def main() -> None:
    """Measures both sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--version", default="2.1")
    parser.add_argument("--dialogues", type=int, default=256)
    parser.add_argument("--alone", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.5)
    options = parser.parse_args()
    dialogues = data.read(options.archive, version=options.version)[: options.dialogues]
    database = Database(options.database)

    def respond(request: Request) -> Reply:
        now = request.json["messages"][-1]["content"].rpartition("### Input:")[2]
        acts = "Observation: " not in now
        text = "Action: query_hotel(area='north')" if acts else "System: The Acorn Guest House?"
        return completion(text, delay=options.delay)

    with ChatServer(respond) as server:
        alone = turns_a_second(dialogues[: options.alone], database, server, 1)
        together = turns_a_second(dialogues, database, server, CONCURRENCY)
        print(
            f"{len(dialogues)} dialogues, {options.delay} s an answer, most at once {server.peak}"
        )
    print(f"one after another  {alone:>8.2f} turns/s (over {options.alone} dialogues)")
    print(f"{CONCURRENCY} at a time       {together:>8.2f} turns/s")
    print(f"ratio              {together / alone:>8.1f}")


def turns_a_second(
    dialogues: Sequence[data.Dialogue], database: Database, server: ChatServer, concurrency: int
) -> float:
    """Leads the dialogues and returns turns a second."""
    engine = build_inference_engine(
        InferenceEngineType.REMOTE,
        ModelParams(model_name="scripted"),
        RemoteParams(api_url=f"{server.url}/chat/completions", num_workers=concurrency),
        GenerationParams(max_new_tokens=64),
    )
    start = time.perf_counter()
    rollouts = roll_out(
        dialogues,
        database=database,
        asking=Asking(FORMATS["coalm"]),
        ask=partial(generate, engine),
        user=corpus,
        concurrency=concurrency,
    )
    turns = sum(len(rollout.turns) for rollout in rollouts)
    return turns / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
