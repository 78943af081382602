"""Executing the calls of conversations, and recording what the web gave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coalm_oumi.evaluation.bfcl.client import Entry, Worker
from coalm_oumi.evaluation.inference import digest
from coalm_oumi.journal import Journal

_SIDE_BY_SIDE = 16


@dataclass(frozen=True, slots=True)
class Step:
    """An answer whose calls are to be executed.

    Attributes:
        key: Names the sample, the turn and the step.
        entry: The sample.
        calls: The calls as Python text.
    """

    key: str
    entry: Entry
    calls: Sequence[str]


Execute = Callable[[Sequence[Step]], list[list[str]]]
"""Executes the calls of steps of different samples, and returns what each call gave."""


def executor(worker: Worker, journal: Journal | None) -> Execute:
    """Returns what executes calls.

    A search of the web costs money and gives something else tomorrow, so what it gave is recorded:
    a run that goes on asks the model just what it was asked before. All other functions give the
    same again.

    Args:
        worker: Executes.
        journal: Holds what the web gave; None where no sample searches it.
    """

    def search(steps: Sequence[Step]) -> list[list[str]]:
        if journal is None:
            return []
        keys = [f"{step.key}#{digest(list(step.calls))}" for step in steps]
        open_ = [n for n, key in enumerate(keys) if key not in journal]
        for first in range(0, len(open_), _SIDE_BY_SIDE):
            chunk = open_[first : first + _SIDE_BY_SIDE]
            for n, results in zip(chunk, _execute(worker, [steps[n] for n in chunk]), strict=True):
                journal.append(keys[n], results)
        return [journal.records[key] for key in keys]

    def execute(steps: Sequence[Step]) -> list[list[str]]:
        searching = [n for n, step in enumerate(steps) if step.entry.searches_web]
        acting = [n for n in range(len(steps)) if n not in set(searching)]
        found = dict(zip(acting, _execute(worker, [steps[n] for n in acting]), strict=True))
        found |= zip(searching, search([steps[n] for n in searching]), strict=True)
        return [found[n] for n in range(len(steps))]

    return execute


def _execute(worker: Worker, steps: Sequence[Step]) -> list[list[str]]:
    return worker.execute([(step.entry, step.calls) for step in steps]) if steps else []
