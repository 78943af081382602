"""MultiWOZ's dialogues side by side: ours beside one after another, as AutoTOD leads them.

    python benchmarks/multiwoz_concurrency.py ARCHIVE DATABASE [--dialogues 256] [--delay 0.5]

ARCHIVE and DATABASE are MultiWOZ's, as in `recipes/eval_multiwoz.yaml`. Both sides ask the same
server on loopback, whose delays are drawn from a log-normal distribution with that mean, and run
the same agent over the reference users: each turn one query and one reply. One after another means
one live dialogue and one request at a time, which is what AutoTOD's `batch_run.py` does; it is
measured on the first few dialogues. The last line prints the ratio of turns a second.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from oumi.builders.inference_engines import build_inference_engine
from oumi.core.configs import (
    EvaluationConfig,
    GenerationParams,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)

from coalm_oumi.evaluation.multiwoz import data
from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.rollout import Asking, roll_out
from coalm_oumi.evaluation.multiwoz.user import Corpus
from coalm_oumi.llm.recorded import RecordedModel
from tests.support.chat_server import ChatServer, Reply, Request, completion

CONCURRENCY = 64

SPREAD = 0.8
"""The standard deviation of the delay's logarithm: one answer in twenty takes three times the mean.
A constant delay would hide that dialogues wait for each other."""


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

    delays = random.Random(0)

    def respond(request: Request) -> Reply:
        now = request.json["messages"][-1]["content"].rpartition("### Input:")[2]
        acts = "Observation: " not in now
        text = "Action: query_hotel(area='north')" if acts else "System: The Acorn Guest House?"
        return completion(
            text, delay=options.delay * delays.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        )

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
    remote = RemoteParams(api_url=f"{server.url}/chat/completions", num_workers=concurrency)
    model, generation = ModelParams(model_name="scripted"), GenerationParams(max_new_tokens=64)
    engine = build_inference_engine(InferenceEngineType.REMOTE, model, remote, generation)
    with TemporaryDirectory() as folder:
        config = EvaluationConfig(
            output_dir=folder,
            model=model,
            generation=generation,
            inference_engine=InferenceEngineType.REMOTE,
            inference_remote_params=remote,
        )
        start = time.perf_counter()
        with RecordedModel(engine, config, "multiwoz") as recorded:
            rollouts = roll_out(
                dialogues,
                database=database,
                asking=Asking(FORMATS["coalm"]),
                model=recorded,
                user=Corpus(),
                concurrency=concurrency,
            )
            turns = sum(len(rollout.turns) for rollout in rollouts)
        return turns / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
