"""Asks a model through Oumi's engines, and records each answer as it arrives."""

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from oumi.core.async_utils import safe_asyncio_run
from oumi.core.types.conversation import Conversation, Message, Role
from oumi.utils.logging import logger
from tqdm import tqdm

from coalm_oumi.core import compat
from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.core.usage import Usage
from coalm_oumi.files.journal import Journal
from coalm_oumi.llm.batches import BatchEngine
from coalm_oumi.llm.failure import Cause, Generated
from coalm_oumi.llm.http import public_url
from coalm_oumi.llm.remote import RemoteEngine, served_model
from coalm_oumi.llm.side_by_side import SideBySide
from coalm_oumi.llm.weights import fingerprint
from coalm_oumi.rendering.chat_template import pin_template_date

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine
    from oumi.inference import RemoteInferenceEngine

_R = TypeVar("_R")

PATIENCE = 8
"""A run ends after this many failures in a row, or after as many as it has workers."""

_PROBE = "tools probe"
PROBE_TOOL: Json = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "Does nothing.",
        "parameters": {"type": "object", "properties": {}},
    },
}
"""A function whose tokens in a prompt show that the model sees its functions."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the model.

    Attributes:
        key: Names the sample and, if there are several, the turn and step within it.
        messages: The conversation so far.
        tools: The functions in OpenAI's form, for the chat template's own tool calling.
    """

    key: str
    messages: Sequence[Message]
    tools: Sequence[Json] | None = None

    def conversation(self) -> Conversation:
        """Returns Oumi's conversation."""
        return Conversation(
            conversation_id=self.key,
            messages=list(self.messages),
            tools=None if self.tools is None else list(self.tools),
        )


class ServerGoneError(CoalmError):
    """The model no longer answers anything, so the run stops asking."""


class RecordedModel:
    """A model whose raw answers are recorded, so that none is asked for or paid for twice.

    The record is under `<output_dir>/raw`. Its name contains a hash of the model, its weights (or
    what the server says that it serves), the engine and the generation parameters. The key of an
    answer is its sample and a hash of its prompt. If one of these changes, the question is asked
    again. An interrupted run resumes with the answers that it has.

    Independent questions go through `ask`:

        >>> with RecordedModel(engine, config, "api_bank.l1") as model:
        ...     texts = model.ask(questions)

    Conversations are coroutines that await `answer`. `run` runs them concurrently and yields the
    result of each when it ends. None waits for another: a server gets a conversation's next
    question as soon as the previous answer has arrived, and an engine in this process gets all
    waiting questions as one batch. Other slow work (a simulated user on a server, a search) is
    awaited in the same event loop, or in a thread with `asyncio.to_thread`.

        >>> async def lead(dialogue):
        ...     episode = Episode(dialogue)
        ...     while not episode.ended:
        ...         answer = await model.answer(episode.question())
        ...         episode.take(answer)      # answer.text is None if answer.cause says why
        ...     return episode.result()
        >>> with RecordedModel(engine, config, "multiwoz") as model:
        ...     for result in model.run((lead(d) for d in dialogues), at_once=64):
        ...         journal.append(result.name, result.record)

    The chat template of an engine in this process writes the date of training. Llama 3.3's own
    template writes today's, so the same prompt would differ from yesterday's.

    `run` takes coroutines from the iterable only when they can start. If one of them raises, if a
    record cannot be written, at Ctrl-C, or if the model no longer answers anything, `run` stops
    asking, keeps the answers so far, and raises.

    Attributes:
        made_by: What the answers depend on besides their prompts, for records that use them.
    """

    def __init__(
        self, engine: "BaseInferenceEngine", config: "EvaluationConfig", name: str
    ) -> None:
        """Opens the record.

        Args:
            engine: The engine that Oumi built from `config`.
            config: Names model, engine and generation parameters, and the output folder.
            name: Names the task.

        Raises:
            CoalmError: Another process is writing this record, or it cannot be written.
        """
        folder = Path(config.output_dir) / "raw"
        self._unreachable = ""
        self.made_by = made_by(config)
        if _is_remote(engine):
            self.made_by["serves"] = self._served(engine, config, folder, name)
            self._backend = RemoteEngine(engine)
            self._at_once = compat.most_at_once(engine)
            self._patience = max(PATIENCE, self._at_once)
        else:
            batch = config.generation.batch_size or 1
            schedules = config.inference_engine == "VLLM"
            self._backend = BatchEngine(engine, None if schedules else batch)
            for tokenizer in compat.tokenizers_of(engine):
                pin_template_date(tokenizer)
            self._at_once = sys.maxsize
            self._patience = max(PATIENCE, batch)
        file = folder / f"{name}.{digest(self.made_by)}.jsonl"
        written = file.stat().st_mtime if file.is_file() else time.time()
        self._journal = Journal(file, made_by=self.made_by)
        self._written = time.strftime("%Y-%m-%d %H:%M", time.localtime(written))
        self._old = set(self._journal.records)
        self._reused: set[str] = set()
        self._answered = 0  # in all, and in the current call of `run`
        self._answered_here = 0
        self._failed_in_row = 0
        self._last_failure: Generated | None = None
        self._is_unwritable = False
        self._side_by_side: SideBySide[Any] | None = None  # of the current call of `run`
        self._asked = 0  # in the current call of `hold`, and what has no answer
        self._failed: list[tuple[Question, Generated]] = []
        self.too_long: set[str] = set()
        """The keys of questions of this run that were longer than the model's context."""

    def _served(
        self, engine: "RemoteInferenceEngine", config: "EvaluationConfig", folder: Path, name: str
    ) -> Json:
        """Asks the server what it serves. Without it, the answers that are recorded can be used."""
        try:
            return safe_asyncio_run(served_model(engine, config.model.model_name))
        except ConnectionError as error:
            self._unreachable = str(error)
        found = [served for served in _recorded(folder, name, self.made_by) if served]
        if not found:
            return None
        if len(found) > 1:
            raise CoalmError(
                f"{self._unreachable}; {folder} holds answers of {len(found)} models that were "
                f"served as {config.model.model_name}: start the server, so that it can say which "
                "it serves"
            )
        logger.warning(f"{self._unreachable}; only recorded answers can be used")
        return found[0]

    def __enter__(self) -> "RecordedModel":
        """Returns the model itself."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Closes the record, and logs how many answers came from it."""
        if self._reused:
            logger.info(
                f"reused {len(self._reused):,} recorded answers of {self._journal.path} (last "
                f"written {self._written}), and asked for {self._answered:,}"
            )
        try:
            self._journal.close()
        except WriteError:
            if error is None:  # otherwise report the first error
                raise

    def run(
        self,
        work: Iterable[Coroutine[Any, Any, _R]],
        *,
        at_once: int | None = None,
        within: AbstractAsyncContextManager[Any] | None = None,
    ) -> Iterator[_R]:
        """Runs coroutines that await `answer`, and yields the result of each when it ends.

        Args:
            work: The coroutines. A generator is advanced only when the next one can start.
            at_once: The most concurrent coroutines; None for all. The engine limits the number of
                concurrent questions.
            within: A context, such as the client of another server, that is opened in the event
                loop before the first coroutine starts and closed after the last.

        Raises:
            ServerGoneError: The model no longer answers anything. Recorded answers are kept.
            WriteError: An answer cannot be recorded. Earlier answers are kept.
            KeyboardInterrupt: Ctrl-C. Answers under way are kept if they arrive soon.
        """
        yield from self._drive(work, at_once, within)
        if self._failed_in_row and not self._answered_here and not self._is_alive():
            raise self._gone_error()

    def _drive(
        self,
        work: Iterable[Coroutine[Any, Any, _R]],
        at_once: int | None = None,
        within: AbstractAsyncContextManager[Any] | None = None,
    ) -> Iterator[_R]:
        run = self._run(iter(work), at_once, within or contextlib.nullcontext())
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            yield from run
            return
        with ThreadPoolExecutor(max_workers=1) as pool:  # a notebook already runs a loop
            yield from pool.submit(list, run).result()

    def _run(
        self,
        work: Iterator[Coroutine[Any, Any, _R]],
        at_once: int | None,
        within: AbstractAsyncContextManager[Any],
    ) -> Iterator[_R]:
        self._is_unwritable = False
        self._failed_in_row, self._answered_here = 0, 0
        # Limited here and not in Oumi's engine, so that a greeting need not wait for all others.
        self._slots = asyncio.Semaphore(self._at_once)
        self._may_ask = asyncio.Event()
        self._may_ask.set()
        self._side_by_side = run = SideBySide(work, at_once)
        results = run.results(self._backend.open(), within, at_server=self._backend.at_server)
        with contextlib.closing(results):
            for found in results:
                yield from found
                if self._failed_in_row >= self._patience and not run.is_stopping:
                    if run.wait(self._probe()):
                        self._failed_in_row = 0
                    else:
                        run.stop(self._gone_error())

    async def answer(self, question: Question) -> Generated:
        """Returns the answer to one question, from the record or from the model.

        Await it in a coroutine that `run` runs.

        Raises:
            ServerGoneError: The model no longer answers anything.
            WriteError: The answer cannot be recorded.
        """
        key = _key(question)
        if key in self._journal:
            if key in self._old:
                self._reused.add(key)
            record = self._journal.records[key]
            is_cut = record.get("is_cut", False)
            return Generated(record["text"], Usage(**record["usage"]), is_cut=is_cut)
        if self._side_by_side is None:
            raise RuntimeError("`answer` is awaited in a coroutine that `run` runs")
        if self._side_by_side.is_stopping:
            raise asyncio.CancelledError
        if self._unreachable:
            raise ServerGoneError(
                f"{self._unreachable}; start the server and run the command again"
            )
        async with self._slots:
            await self._may_ask.wait()
            if self._is_unwritable:  # a new answer could not be recorded
                raise asyncio.CancelledError
            generated = await self._backend.ask(question.conversation())
            self._note(generated, is_known=_failure_key(key) in self._journal)
            if generated.text is not None:
                self._record(key, generated)
        return generated

    def _record(self, key: str, generated: Generated) -> None:
        record: dict[str, Json] = {
            "text": generated.text,
            "usage": dataclasses.asdict(generated.usage),
        }
        if generated.is_cut:
            record["is_cut"] = True
        try:
            self._journal.append(key, record)
        except WriteError:
            self._is_unwritable = True
            raise

    def ask(self, questions: Sequence[Question]) -> list[str]:
        """Returns an answer to each question, from the record or from the model.

        Questions without an answer are treated as in `hold`.

        Raises:
            CoalmError: The engine failed at some questions. The answers to the others are kept.
        """
        done = sum(_key(question) in self._journal for question in questions)

        async def one(place: int) -> tuple[int, str]:
            return place, await self.text(questions[place])

        answers: dict[int, str] = {}
        with tqdm(total=len(questions), desc="answers", disable=done == len(questions)) as bar:
            for place, text in self.hold(one(place) for place in range(len(questions))):
                answers[place] = text
                bar.update()
        return [answers[place] for place in range(len(questions))]

    def hold(
        self,
        conversations: Iterable[Coroutine[Any, Any, _R]],
        *,
        within: AbstractAsyncContextManager[Any] | None = None,
    ) -> Iterator[_R]:
        """Runs coroutines that await `text`, and yields the result of each when it ends.

        A question that the engine refuses, such as a prompt longer than the model's context, gets
        an empty answer and is asked again by the next run. A question at which the engine fails in
        another way ends its conversation, and raises an error once all others have ended. If it
        fails again in the next run, and others do not, it gets an empty answer too.

        Args:
            conversations: The coroutines.
            within: A context that is opened in their event loop, as in `run`.

        Raises:
            CoalmError: The engine failed at some questions. The answers to the others are kept.
        """
        self._asked, self._failed = 0, []

        async def unless_lost(conversation: Coroutine[Any, Any, _R]) -> list[_R]:
            try:
                return [await conversation]
            except _LostError:
                return []

        try:
            for found in self._drive(map(unless_lost, conversations), within=within):
                yield from found
        except ServerGoneError as error:
            if lost := self._unexplained():
                raise self._failure(lost) from error
            raise
        self._accept_failures()

    async def text(self, question: Question) -> str:
        """Returns the answer to one question, in a coroutine that `hold` runs.

        Raises:
            ServerGoneError: The model no longer answers anything.
            WriteError: The answer cannot be recorded.
        """
        generated = await self.answer(question)
        self._asked += 1
        if generated.cause is not None:
            self._failed.append((question, generated))
            if generated.cause is Cause.TOO_LONG:
                self.too_long.add(question.key)
            elif generated.cause is not Cause.REFUSED and not self._is_known(question):
                raise _LostError
        return generated.text or ""

    def _is_known(self, question: Question) -> bool:
        """Returns True if an earlier run also failed at the question."""
        return _failure_key(_key(question)) in self._journal

    def check_tools(self) -> None:
        """Refuses a server that leaves out functions which are given as tools.

        The same question is asked with and without a function, once per record. A server that
        counts no tokens, or does not answer, is not refused.

        Raises:
            CoalmError: Both prompts have the same number of tokens, so the model sees no functions.
        """
        if isinstance(self._backend, BatchEngine) or self._unreachable or _PROBE in self._journal:
            return
        server = self._backend

        async def count(tools: Sequence[Json]) -> int:
            question = Question(_PROBE, [Message(role=Role.USER, content="Hello!")], tools or None)
            answer = await server.ask(question.conversation(), max_new_tokens=16)
            return answer.usage.input_tokens

        fewest, most = sorted(self._drive([count([]), count([PROBE_TOOL])]))
        if fewest == most > 0:
            raise CoalmError(
                f"the server counts {most} tokens in a prompt with a function and without: its "
                "chat template leaves out functions that are given as tools; start it with a "
                "template that knows them (and with tool calling, for vLLM --enable-auto-tool-"
                "choice), or use another style"
            )
        if fewest > 0:
            self._journal.append(_PROBE, {"prompt_tokens": [fewest, most]})

    def _note(self, generated: Generated, *, is_known: bool) -> None:
        """Counts failures, to tell a model that is gone from questions that cannot be answered."""
        if generated.cause is None:
            self._answered += 1
            self._answered_here += 1
        if generated.cause in (None, Cause.TOO_LONG):
            self._failed_in_row = 0
        elif not is_known:
            self._failed_in_row += 1
            self._last_failure = generated

    async def _probe(self) -> bool:
        """Asks a question that every model can answer. Only this decides that a model is gone."""
        question = Question("probe", [Message(role=Role.USER, content="Hello!")])
        self._may_ask.clear()
        try:
            return (await self._backend.ask(question.conversation())).text is not None
        finally:
            self._may_ask.set()

    def _is_alive(self) -> bool:
        return self._answered_here > 0 or all(self._drive([self._probe()]))

    def _gone_error(self) -> ServerGoneError:
        error = self._last_failure.error if self._last_failure else "no answer"
        return ServerGoneError(
            f"the model answers nothing: {error}; nor did it answer a greeting. The answers so far "
            f"are kept in {self._journal.path}: run the command again to resume"
        )

    def _unexplained(self) -> list[tuple[Question, Generated]]:
        """Returns the failures that no earlier run had, and that no context length explains."""
        return [
            (question, answer)
            for question, answer in self._failed
            if answer.cause is not Cause.TOO_LONG and not self._is_known(question)
        ]

    def _accept_failures(self) -> None:
        """Accepts failures of single questions, but not a failure of the model as a whole.

        Raises:
            CoalmError: The model is gone, or the engine failed at a question for the first time.
        """
        if not self._failed:
            return
        news = self._unexplained()
        harmless = (Cause.TOO_LONG, Cause.REFUSED)
        lasting = [pair for pair in self._failed if pair[1].cause not in harmless]
        if (news or lasting) and not self._is_alive():
            raise self._failure(news or lasting)
        for question, answer in news:
            self._journal.append(_failure_key(_key(question)), {"error": answer.error})
        if lost := [pair for pair in news if pair[1].cause is not Cause.REFUSED]:
            raise self._failure(lost)
        question, answer = self._failed[0]
        logger.warning(
            f"{len(self._failed)} of {self._asked} questions were refused and count as unanswered, "
            f"the first, {question.key}, because: {answer.error}"
        )

    def _failure(self, lost: Sequence[tuple[Question, Generated]]) -> CoalmError:
        question, answer = min(lost, key=lambda pair: pair[0].key)
        return CoalmError(
            f"the inference engine failed at {len(lost)} of {self._asked} questions, first at "
            f"{question.key}: {answer.error}; the other answers are kept in {self._journal.path}: "
            "run the command again to resume"
        )


class _LostError(Exception):
    """Ends one conversation: its question has no answer, and the run will end with an error."""


def _is_remote(engine: "BaseInferenceEngine") -> "TypeGuard[RemoteInferenceEngine]":
    """Returns True if answers come from a server, one by one."""
    # Not at the top, since Oumi loads this module during its own imports.
    from oumi.inference import RemoteInferenceEngine

    return isinstance(engine, RemoteInferenceEngine)


def _recorded(folder: Path, name: str, made: Mapping[str, Json]) -> Iterator[Json]:
    """Yields the served models of earlier records of the same run."""
    for file in sorted(folder.glob(f"{name}.*.jsonl")):
        with contextlib.suppress(ValueError, OSError, AttributeError), file.open("rb") as stream:
            found = json.loads(stream.readline()).get("made_by")
            if is_object(found) and {**found, "serves": None} == {**made, "serves": None}:
                yield found.get("serves")


def _key(question: Question) -> str:
    content = [question.tools, *(m.model_dump(mode="json") for m in question.messages)]
    return f"{question.key}#{digest(content)}"


def _failure_key(key: str) -> str:
    return f"{key} refused"


def made_by(config: "EvaluationConfig") -> dict[str, Json]:
    """Returns what a model's answers depend on besides the prompt, including its weights.

    `RecordedModel.made_by` also contains what a server serves.
    """
    model = _plain(dataclasses.asdict(config.model))
    names = (config.model.model_name, config.model.adapter_model)
    remote = config.inference_remote_params
    return {
        "model": model,
        "weights": list(filter(None, map(fingerprint, names))),
        "generation": _plain(dataclasses.asdict(config.generation)),
        "engine": str(config.inference_engine),
        "api_url": public_url(remote.api_url) if remote and remote.api_url else None,
    }


def _plain(values: Mapping[str, Json]) -> dict[str, Json]:
    return json.loads(json.dumps(dict(values), default=str, sort_keys=True))
