"""MultiWOZ's dialogues in parallel, beside one at a time as in AutoTOD.

    python benchmarks/multiwoz_concurrency.py ARCHIVE DATABASE [--dialogues 256] [--delay 0.5]

ARCHIVE and DATABASE are MultiWOZ's, as in `recipes/eval_multiwoz.yaml`. Both sides ask the same
server on loopback and run the same agent over the reference users: each turn one query and one
reply. The server's delays are drawn from a log-normal distribution with that mean (`SPREAD` and
`SEED` below), so that dialogues which waited for each other would show.

The other side has one dialogue and one request at a time, as AutoTOD's `batch_run.py`; it is
measured on `--alone` dialogues. The side that goes first changes with each round. "In flight" is
the sum of the delays over the wall time: the average number of requests that the server held.
"Lockstep" is not run but computed from the same delays: each wave of requests takes as long as its
slowest. The last lines print ratios of medians of turns per second.
"""

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from coalm_oumi.llm.recorded import RecordedModel
from tests.support.chat_server import ChatServer, Reply, Request, completion

CONCURRENCY = 64

SPREAD = 0.8
"""The standard deviation of the delay's logarithm: one in twenty takes 2.7 times the mean."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Led:
    """The measurements of one side.

    Attributes:
        turns: How many turns it led.
        seconds: How long it took.
        delays: The server's delays, in seconds, in the order of the requests.
    """

    turns: int
    seconds: float
    delays: Sequence[float]

    @property
    def speed(self) -> float:
        """Turns per second."""
        return self.turns / self.seconds

    @property
    def in_flight(self) -> float:
        """Requests that the server held on average."""
        return sum(self.delays) / self.seconds

    @property
    def in_lockstep(self) -> float:
        """Turns per second if each wave of requests waited for its slowest."""
        waves = range(0, len(self.delays), CONCURRENCY)
        return self.turns / sum(max(self.delays[n : n + CONCURRENCY]) for n in waves)


def main() -> None:
    """Measures both sides in one run and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--version", default="2.1")
    parser.add_argument("--dialogues", type=int, default=256)
    parser.add_argument("--alone", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    dialogues = data.read(options.archive, version=options.version)[: options.dialogues]
    database = Database(options.database)
    sides = {1: dialogues[: options.alone], CONCURRENCY: dialogues}
    found: dict[int, list[Led]] = {concurrency: [] for concurrency in sides}
    for round_ in range(options.rounds):
        for concurrency in sides if round_ % 2 == 0 else reversed(sides):
            led = lead(sides[concurrency], database, options.delay, concurrency)
            found[concurrency].append(led)
            print(
                f"{concurrency:>3} at a time: {led.turns} turns in {led.seconds:.1f} s, "
                f"{led.speed:.2f} turns/s, {statistics.mean(led.delays):.2f} s an answer, "
                f"{led.in_flight:.1f} in flight",
                flush=True,
            )
    alone, together = (statistics.median(led.speed for led in found[n]) for n in sides)
    lockstep = statistics.median(led.in_lockstep for led in found[CONCURRENCY])
    print(f"{CONCURRENCY} at a time / one after another  {together / alone:.1f}")
    print(f"{CONCURRENCY} at a time / in lockstep        {together / lockstep:.1f}")


def lead(
    dialogues: Sequence[data.Dialogue], database: Database, delay: float, concurrency: int
) -> Led:
    """Leads the dialogues against a server that nobody else asks."""
    draw = random.Random(SEED)
    delays: list[float] = []

    def respond(request: Request) -> Reply:
        now = request.json["messages"][-1]["content"].rpartition("### Input:")[2]
        acts = "Observation: " not in now
        text = "Action: query_hotel(area='north')" if acts else "System: The Acorn Guest House?"
        delays.append(delay * draw.lognormvariate(-(SPREAD**2) / 2, SPREAD))
        return completion(text, delay=delays[-1])

    with ChatServer(respond) as server, TemporaryDirectory() as folder:
        remote = RemoteParams(api_url=f"{server.url}/chat/completions", num_workers=concurrency)
        model, generation = ModelParams(model_name="scripted"), GenerationParams(max_new_tokens=64)
        engine = build_inference_engine(InferenceEngineType.REMOTE, model, remote, generation)
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
                user=None,
                concurrency=concurrency,
            )
            turns = sum(len(rollout.turns) for rollout in rollouts)
        return Led(turns, time.perf_counter() - start, delays)


if __name__ == "__main__":
    main()
