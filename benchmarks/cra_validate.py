"""Errors of `coalm cra validate` about arguments, and its speed.

    python benchmarks/cra_validate.py SGD_SPLIT [SGD_SPLIT ...]

SGD's annotated calls are right, so every finding there is a false alarm. Then the value of each
argument in turn is replaced by one of the same argument in another dialogue. A replacement that is
not found is a miss, even if the dialogue happens to mention the new value and the text could not
tell.
"""

import argparse
import random
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from coalm_oumi.data.cra import sgd, transcript
from coalm_oumi.data.cra.annotation import annotated_turns
from coalm_oumi.data.cra.validate import validate
from coalm_oumi.formats.calls import FunctionCall


def main() -> None:
    """Prints false alarms, misses and speed of each split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splits", type=Path, nargs="+")
    for split in parser.parse_args().splits:
        measure(split)


def measure(split: Path) -> None:
    """Prints the figures of one split."""
    services = sgd.read_services(split)
    dialogues = []
    values: dict[str, list] = defaultdict(list)
    for _, record in sgd.records(split):
        _, used = sgd.identify(record, services)
        turns = annotated_turns(record, services)
        dialogues.append((turns, sgd.catalogue(services, used, "all")))
        for turn in turns:
            for name, value in turn.api.call.arguments.items() if turn.api else ():
                values[name].append(value)

    start = time.perf_counter()
    alarms = [validate(transcript.write(turns), catalogue) for turns, catalogue in dialogues]
    seconds = time.perf_counter() - start
    arguments = sum(map(len, values.values()))
    print(f"{split}: {len(dialogues)} dialogues, {arguments} arguments, all right")
    faulty = sum(map(bool, alarms))
    print(f"  false alarms    {sum(map(len, alarms))} arguments, {faulty} dialogues")

    choice = random.Random(0)
    found = total = 0
    for (turns, catalogue), before in zip(dialogues, alarms, strict=True):
        for number, turn in enumerate(turns):
            for name, value in turn.api.call.arguments.items() if turn.api else ():
                others = [other for other in values[name] if other != value]
                if not others or value in ("True", "False"):
                    continue
                assert turn.api is not None
                call = FunctionCall(
                    turn.api.call.name, {**turn.api.call.arguments, name: choice.choice(others)}
                )
                changed = [*turns]
                changed[number] = replace(turn, api=replace(turn.api, call=call))
                after = validate(transcript.write(changed[: number + 1]), catalogue)
                here = [finding for finding in before if finding.turn == number + 1]
                total += 1
                found += len([f for f in after if f.turn == number + 1]) > len(here)
    print(f"  swaps found     {found} of {total} = {found / total:.3f}")
    print(f"  speed           {len(dialogues) / seconds:.0f} dialogues/s")


if __name__ == "__main__":
    main()
