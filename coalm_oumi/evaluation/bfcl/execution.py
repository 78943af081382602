"""Executes the calls of conversations, and records results from the web."""

from collections.abc import Sequence
from dataclasses import dataclass

from oumi.utils.logging import logger

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.files.journal import Journal

_SIDE_BY_SIDE = 16

_FEW = 3
"""This many searches may all fail for unrelated reasons."""


@dataclass(frozen=True, slots=True)
class ExecutedStep:
    """An answer whose calls are to be executed.

    Attributes:
        key: Names the sample, the turn and the step.
        entry: The sample.
        calls: The calls as Python text.
    """

    key: str
    entry: BfclEntry
    calls: Sequence[str]


class Executor:
    """Executes calls, and records results from the web.

    A web search costs money and has other results tomorrow. A resumed run gets the recorded
    results, and so asks the model the same questions. A failed search is not recorded, and is tried
    again by the next run. All other functions are deterministic.
    """

    def __init__(self, worker: BfclWorker, journal: Journal | None) -> None:
        """Starts with nothing executed.

        Args:
            worker: Executes the calls.
            journal: Records results from the web; None if no sample searches it.
        """
        self._worker = worker
        self._journal = journal
        self._searches = 0
        self._failed: list[str] = []

    def __call__(self, steps: Sequence[ExecutedStep]) -> list[list[str]]:
        """Executes the calls of steps of different samples.

        Returns:
            The results of the calls of each step.

        Raises:
            CoalmError: The worker failed, or every search does.
        """
        searching = [n for n, step in enumerate(steps) if step.entry.kind == "web_search"]
        acting = [n for n in range(len(steps)) if n not in set(searching)]
        found: dict[int, list[str]] = {}
        if acting:
            pairs = [(steps[n].entry, steps[n].calls) for n in acting]
            found |= {acting[place]: results for place, results in self._worker.execute(pairs)}
        if self._journal is not None:
            found |= self._search({n: steps[n] for n in searching}, self._journal)
        return [found[n] for n in range(len(steps))]

    def report(self) -> None:
        """Warns of searches that failed."""
        if self._failed:
            logger.warning(
                f"{len(self._failed)} of {self._searches} web searches failed; the next run "
                f"tries them again. The first: {self._failed[0]}"
            )

    def _search(self, steps: dict[int, ExecutedStep], journal: Journal) -> dict[int, list[str]]:
        """Executes each call separately, because no web call depends on earlier ones."""
        calls: dict[str, tuple[BfclEntry, str]] = {}
        for step in steps.values():
            for place, call in enumerate(step.calls):
                calls[f"{step.key}/{place}#{digest(call)}"] = step.entry, call
        found = {key: journal.records[key] for key in calls if key in journal}
        self._searches += sum(_is_search(calls[key][1]) for key in found)
        pending = [key for key in calls if key not in found]
        for first in range(0, len(pending), _SIDE_BY_SIDE):
            chunk = pending[first : first + _SIDE_BY_SIDE]
            asked = [(calls[key][0], [calls[key][1]]) for key in chunk]
            for place, (result,) in self._worker.execute(asked):
                key = chunk[place]
                found[key] = result
                if not self._is_failure(calls[key][1], result):
                    journal.append(key, result)
            if len(self._failed) == self._searches > _FEW:
                raise CoalmError(
                    f"every web search failed, the first with: {self._failed[0]}; check the key "
                    "and the network, and run the command again"
                )
        results = iter([found[key] for key in calls])
        return {n: [next(results) for _ in step.calls] for n, step in steps.items()}

    def _is_failure(self, call: str, result: str) -> bool:
        """Returns True if a search failed, and counts it. That of a page is an answer too."""
        if not _is_search(call):
            return False
        self._searches += 1
        failed = result.startswith('{"error"')
        self._failed += [result] if failed else []
        return failed


def _is_search(call: str) -> bool:
    return call.lstrip().startswith("search_engine_query(")
