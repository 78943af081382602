"""Talks to the worker in the environment of `bfcl-eval`, a JSON line each way."""

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from coalm_oumi.errors import CoalmError
from coalm_oumi.evaluation.bfcl import environment
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.jsontext import Json, dumps

TIMEOUT = 600.0
"""Seconds for one request. The slowest, judging 200 multi-turn answers, takes a few; a search of
the web may wait until its quota is filled up."""

ENCODER = "all-MiniLM-L6-v2"
"""The model by which the package's vector memory finds what it holds."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Functions that a turn of the category "missing functions" adds.

    Attributes:
        prompt: What the user says, with the functions' descriptions.
        short_prompt: What the user says where the functions are given as tools.
        tools: All functions from here on, in OpenAI's form.
    """

    prompt: str
    short_prompt: str
    tools: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample of the benchmark, as the installed package gives it.

    Attributes:
        category: Its category, such as `simple`.
        index: Its place in the official order of its category.
        id: Its name, such as `simple_0`. Two samples of V3 share one.
        turns: The messages of each turn; one turn in the single-turn categories.
        functions: The descriptions of its functions.
        prompted: The first turn in BFCL's default prompt mode.
        tools: The functions in OpenAI's form.
        additions: The functions added at a turn, by its index.
        expected: The reference; None where the right answer is to call, or not to call, anything.
    """

    category: str
    index: int
    id: str
    turns: Sequence[Sequence[Json]]
    functions: Sequence[Json]
    prompted: Sequence[Json]
    tools: Sequence[Json]
    additions: Mapping[int, Addition]
    expected: Json

    @property
    def is_conversation(self) -> bool:
        """Whether calls are executed and their results fed back."""
        return self.category.startswith("multi_turn") or self.is_agentic

    @property
    def is_agentic(self) -> bool:
        """Whether what counts is the last message, after searches of the web or of a memory."""
        return self.searches_web or self.has_memory

    @property
    def searches_web(self) -> bool:
        """Whether its functions search the web."""
        return self.category.startswith("web_search")

    @property
    def has_memory(self) -> bool:
        """Whether its functions read and write a memory."""
        return self.category.startswith("memory")

    @property
    def writes_memory(self) -> bool:
        """Whether it is a conversation that others remember, and is not judged itself."""
        return self.category.endswith("_prereq")

    @property
    def scenario(self) -> str:
        """Whose memory it is about: `student` of `memory_kv_3-student-0`."""
        return self.id.split("-")[1]

    @property
    def form(self) -> str | None:
        """The form of BFCL's own prompt that it varies, in the category `format_sensitivity`."""
        return self.id.split(":")[1] if ":" in self.id else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the package's checker found.

    Attributes:
        category: The sample's category.
        index: Its place there.
        valid: Whether the answer is right.
        decoded: The calls that the package read; None where it could read none.
        type: The package's name of the error, empty for a right answer.
        reason: Its explanation.
    """

    category: str
    index: int
    valid: bool
    decoded: Json
    type: str = ""
    reason: Json = ""


class Worker:
    """A process in the environment of `bfcl-eval`.

    Example:
        >>> with Worker(V3) as worker:
        ...     entries = worker.questions("simple")
    """

    def __init__(
        self, version: Version, *, extras: bool = False, encoder: Path | None = None
    ) -> None:
        """Starts the process, and installs the environment on the first run.

        Args:
            version: The version of the benchmark.
            extras: Whether what it does takes the package's large requirements.
            encoder: The folder of `ENCODER`, where a hub is out of reach.

        Raises:
            CoalmError: The environment cannot be installed.
        """
        interpreter = environment.python(version, extras=extras)
        self._folder = tempfile.TemporaryDirectory(prefix="coalm_bfcl_")
        root = Path(self._folder.name)
        if encoder:  # found before the hub is asked, since it stands in the working directory
            (root / ENCODER).symlink_to(encoder.absolute())
        self._errors = (root / "stderr").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [interpreter, "-I", "-X", "utf8", Path(__file__).with_name("worker"), version.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            cwd=root,
            env=environment.variables(root),
        )

    def __enter__(self) -> "Worker":
        """Returns the worker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def questions(self, category: str) -> list[Entry]:
        """Returns a category's samples in the official order.

        Raises:
            CoalmError: The worker failed.
        """
        records = self._request("questions", category=category)
        return [_entry(record, category, index) for index, record in enumerate(records)]

    def execute(self, steps: Sequence[tuple[Entry, Sequence[str]]]) -> list[list[str]]:
        """Executes steps of samples in their environments, which live on until the end.

        Only calls of a sample's own functions with literal arguments are executed; the others give
        the error that an unknown function gives.

        Args:
            steps: Samples, each with its calls as Python text. Searches of the web run side by side
                where there is nothing else among them.

        Returns:
            For each step what each call gave.

        Raises:
            CoalmError: The worker failed.
        """
        records = [
            {"category": entry.category, "index": entry.index, "calls": list(calls)}
            for entry, calls in steps
        ]
        return self._request("execute", steps=records)["results"]

    def recall(self, entry: Entry) -> Entry:
        """Returns a sample with a first turn that tells what is in its memory by now.

        Raises:
            CoalmError: The worker failed.
        """
        reply = self._request("recall", category=entry.category, index=entry.index)
        turns = [reply["first"], *entry.turns[1:]]
        return replace(entry, turns=turns, prompted=reply["prompted"])

    def keep(self, entry: Entry) -> None:
        """Writes what a conversation left in the memory, for those after it.

        Raises:
            CoalmError: The worker failed.
        """
        self._request("keep", category=entry.category, index=entry.index)

    def score(
        self,
        form: str,
        rows: Mapping[str, Sequence[tuple[int, Json]]],
        *,
        without_dots: bool = False,
        workers: int | None = None,
    ) -> list[Verdict]:
        """Judges answers.

        Args:
            form: How the answers are written: `bracket` for `[f(a=1)]`, `json` for Figure 5's list.
            rows: By category, the index of each sample and its result as in BFCL's result files,
                only that each step of an agent is a pair: what the decoder may see, and the text.
                The categories need not be complete.
            without_dots: Whether the model was given names with underscores for dots, as tools are.
            workers: Processes; as many as there are cores by default.

        Returns:
            A verdict for each row, in no order.

        Raises:
            CoalmError: The worker failed.
        """
        count = workers or os.cpu_count() or 1
        model = "native" if without_dots else "coalm"
        reply = self._request("score", model=model, form=form, rows=rows, workers=count)
        return [Verdict(**verdict) for verdict in reply["verdicts"]]

    def _request(self, action: str, **details: Json) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        watchdog = threading.Timer(TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps({"do": action, **details}) + "\n")
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        finally:
            watchdog.cancel()
        if not reply:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            about = {name: details[name] for name in ("category", "index") if name in details}
            raise CoalmError(
                f"the worker of bfcl-eval stopped at {action} {dumps(about)}: "
                f"{''.join(last) or f'no reply within {TIMEOUT:.0f} s'}"
            )
        return json.loads(reply)


def _entry(record: Json, category: str, index: int) -> Entry:
    additions = {
        int(turn): Addition(added["prompt"], added["short_prompt"], added["tools"])
        for turn, added in record.pop("additions").items()
    }
    return Entry(**record, category=category, index=index, additions=additions)
