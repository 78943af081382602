"""Talks to the worker in the environment of `bfcl-eval`, with one JSON line each way."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from tqdm import tqdm

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.evaluation.bfcl import environment, replies
from coalm_oumi.evaluation.bfcl.replies import BfclQuestion, Kind
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.evaluation.styles import ChatRecord, FunctionRecord

TIMEOUT = 600.0
"""Seconds for one reply. The slowest is a batch of verdicts on answers that cannot be judged."""

ENCODER = "all-MiniLM-L6-v2"
"""The model that encodes texts for the package's vector memory."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Addition:
    """Functions that a turn of the category "missing functions" adds.

    Attributes:
        prompt: The user's message with the functions' descriptions.
        short_prompt: The user's message if the functions are given as tools.
        tools: All functions from here on, in OpenAI's form.
    """

    prompt: str
    short_prompt: str
    tools: Sequence[FunctionRecord]


@dataclass(frozen=True, slots=True)
class BfclEntry:
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
        expected: The reference; None if the right answer is to call, or not to call, anything.
        kind: How it is asked and judged. A `memory_prereq` is a conversation that others remember,
            and is not judged itself.
        scenario: Whose memory it is about, such as `student`.
        prompt_form: The form of BFCL's own prompt that it varies, if any.
    """

    category: str
    index: int
    id: str
    turns: Sequence[Sequence[ChatRecord]]
    functions: Sequence[FunctionRecord]
    prompted: Sequence[ChatRecord]
    tools: Sequence[FunctionRecord]
    additions: Mapping[int, Addition]
    expected: Json
    kind: Kind = "single_turn"
    scenario: str = ""
    prompt_form: str = ""

    @property
    def is_conversation(self) -> bool:
        """Whether calls are executed and their results fed back."""
        return self.kind != "single_turn"

    @property
    def is_agentic(self) -> bool:
        """Whether the last message is judged, after searches of the web or of a memory."""
        return self.kind in ("memory", "web_search")

    @property
    def has_memory(self) -> bool:
        """Whether its functions read and write a memory."""
        return self.kind in ("memory", "memory_prereq")


@dataclass(frozen=True, slots=True)
class BfclVerdict:
    """The verdict of the package's checker.

    Attributes:
        category: The sample's category.
        index: Its place there.
        valid: Whether the answer is right.
        decoded: The calls that the package read; None if it could read none.
        type: The package's name of the error, empty for a right answer.
        reason: Its explanation.
    """

    category: str
    index: int
    valid: bool
    decoded: Json
    type: str = ""
    reason: Json = ""


class BfclWorker:
    """A process in the environment of `bfcl-eval`.

    Every method raises a `CoalmError` if the process fails.

    Example:
        >>> with BfclWorker(V3) as worker:
        ...     entries = worker.questions("simple")

    Attributes:
        version: The version of the benchmark.
    """

    def __init__(
        self,
        version: Version,
        *,
        extras: bool = False,
        encoder: Path | None = None,
        keys: Collection[str] = (),
    ) -> None:
        """Starts the process, and installs the environment on the first run.

        Args:
            version: The version of the benchmark.
            extras: Whether the package's large requirements are needed.
            encoder: The folder of `ENCODER`, if the Hub is unreachable.
            keys: Names of environment variables with the keys of services that it needs.

        Raises:
            CoalmError: The environment cannot be installed.
        """
        self.version = version
        interpreter = environment.python(version, extras=extras)
        self._folder = tempfile.TemporaryDirectory(prefix="coalm_bfcl_")
        root = Path(self._folder.name)
        if encoder:  # found before the Hub is asked, since it stands in the working directory
            (root / ENCODER).symlink_to(encoder.absolute())
        self._errors = (root / "stderr").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [
                *(interpreter, "-I", "-X", "utf8", Path(__file__).with_name("worker")),
                *(version.name, version.release),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            cwd=root,
            env=environment.variables(root, keys),
            start_new_session=True,  # so that it ends with its own processes, see `_end`
        )

    def __enter__(self) -> "BfclWorker":
        """Returns the worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._end()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def questions(self, category: str) -> list[BfclEntry]:
        """Returns a category's samples in the official order."""
        records = self._request(replies.QUESTIONS, "questions", category=category)
        return [_entry(record, category, index) for index, record in enumerate(records)]

    def read(self, form: str, texts: Sequence[str]) -> list[list[str] | None]:
        """Reads the calls of steps as the package's decoder does.

        Args:
            form: How the texts are written: `bracket` for `[f(a=1)]`, `json` for Figure 5's list.
            texts: The texts.

        Returns:
            Each text's calls as Python text, None if it has none.
        """
        return self._request(replies.CALLS, "read", form=form, texts=list(texts))

    def execute(
        self, steps: Sequence[tuple[BfclEntry, Sequence[str]]]
    ) -> Iterator[tuple[int, list[str]]]:
        """Executes steps of samples in their environments, which are kept until the end.

        Only calls of a sample's own functions with literal arguments are executed; the others give
        the error that an unknown function gives.

        Args:
            steps: Samples, each with its calls as Python text. If all are searches of the web, they
                run concurrently.

        Yields:
            The place of a step and the result of each of its calls, as soon as it is done.
        """
        self._send(
            "execute",
            steps=[
                {"category": entry.category, "index": entry.index, "calls": list(calls)}
                for entry, calls in steps
            ],
        )
        open_ = {place: f"{entry.category} {entry.index}" for place, (entry, _) in enumerate(steps)}
        while open_:
            some = ", ".join(list(open_.values())[:3])
            about = f"executing calls of {some}{', ...' * (len(open_) > 3)}"
            reply = self._receive(replies.STEP_RESULTS, about)
            if open_.pop(reply["step"], None) is None:
                raise CoalmError(
                    f"the worker of bfcl-eval sent the same reply twice while {about}; "
                    f"{replies.RESUME}"
                )
            yield reply["step"], reply["results"]

    def models(self) -> list[str]:
        """Returns the names of the package's table of models."""
        return self._request(replies.NAMES, "models")

    def describe(self, model: str) -> Json:
        """Returns how the handler of a model asks: `text` and `tools`, or an `error`."""
        return self._request(replies.HANDLER, "describe", model=model)

    def ask(self, model: str, entries: Sequence[BfclEntry]) -> list[Json]:
        """Returns the first request of a model's handler for each sample.

        Args:
            model: The model's name in the package's table.
            entries: Samples. The first turn of one with a memory is sent as it is here.
        """
        places = [[entry.category, entry.index] for entry in entries]
        first = {str(n): entry.turns[0] for n, entry in enumerate(entries) if entry.has_memory}
        return self._request(replies.REQUESTS, "ask", model=model, places=places, first=first)

    def step(self, model: str, steps: Sequence[tuple[BfclEntry, str, Json]]) -> list[Json]:
        """Takes steps of conversations that `ask` began.

        Args:
            model: The model's name in the package's table.
            steps: Samples, each with `answer` and what the model wrote, `results` and what its
                calls gave, or `turn` and the place of the next turn.

        Returns:
            For an answer its `result`, as the package's result files hold it, and its `calls`, if
            any; else what is sent next.
        """
        return self._request(
            replies.STEPS,
            "step",
            model=model,
            steps=[
                {"category": entry.category, "index": entry.index, kind: value}
                for entry, kind, value in steps
            ],
        )

    def check(self, class_name: str) -> None:
        """Imports one of the package's environments.

        Raises:
            CoalmError: It cannot be imported.
        """
        self._request(replies.DONE, "check", class_name=class_name)

    def recall(self, entry: BfclEntry) -> BfclEntry:
        """Returns a sample whose first turn contains the current content of its memory."""
        reply = self._request(replies.RECALL, "recall", category=entry.category, index=entry.index)
        turns = [reply["first"], *entry.turns[1:]]
        return replace(entry, turns=turns, prompted=reply["prompted"])

    def keep(self, entry: BfclEntry) -> None:
        """Saves what a conversation wrote into the memory, for later conversations."""
        self._request(replies.DONE, "keep", category=entry.category, index=entry.index)

    def score(
        self,
        form: str,
        rows: Mapping[str, Sequence[tuple[int, Json]]],
        *,
        without_dots: bool = False,
    ) -> list[BfclVerdict]:
        """Judges answers.

        Args:
            form: How the answers are written, as in `read`.
            rows: By category, the index of each sample and its result as in BFCL's result files,
                only that each step of an agent has two texts: what is `seen` by the decoder, and
                what was `said`.
                The categories need not be complete.
            without_dots: Whether the model was given names with underscores for dots, as tools are.

        Returns:
            A verdict for each row, in no order.
        """
        self._send("score", without_dots=without_dots, form=form, rows=rows)
        count = sum(map(len, rows.values()))
        verdicts: list[BfclVerdict] = []
        with tqdm(total=count, desc="verdicts", disable=not count) as bar:
            while some := self._receive(replies.VERDICTS, "judging answers"):
                verdicts += [BfclVerdict(**found) for found in some]
                bar.update(len(some))
        return verdicts

    def _request(self, kind: TypeAdapter[_T], action: str, **details: Json) -> _T:
        self._send(action, **details)
        about = [str(details[name]) for name in ("category", "index") if name in details]
        return self._receive(kind, " ".join([action, *about]))

    def _send(self, action: str, **details: Json) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **details}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # then there is no reply either
            pass

    def _end(self) -> None:
        """Kills the process and those that judge for it, which hold its output open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _receive(self, kind: TypeAdapter[_T], action: str) -> _T:
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._end()

        watchdog = threading.Timer(TIMEOUT, give_up)
        watchdog.start()
        try:
            reply = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if reply:
            return replies.read(kind, reply, action)
        reason = f"no reply within {TIMEOUT:.0f} s" if late.is_set() else self._last_words()
        raise CoalmError(f"the worker of bfcl-eval stopped at {action}: {reason}; {replies.RESUME}")

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:]
        said = "".join(last) or f"it ended with exit code {self._process.returncode}"
        key = os.environ.get(environment.SEARCH_KEY)
        return said.replace(key, "...") if key else said


def _entry(record: BfclQuestion, category: str, index: int) -> BfclEntry:
    return BfclEntry(
        category=category,
        index=index,
        id=record["id"],
        turns=record["turns"],
        functions=record["functions"],
        prompted=record["prompted"],
        tools=record["tools"],
        additions={int(turn): Addition(**added) for turn, added in record["additions"].items()},
        expected=record["expected"],
        kind=record["kind"],
        scenario=record.get("scenario", ""),
        prompt_form=record.get("prompt_form", ""),
    )
