"""The conversations: calls are executed and their results fed back, as in BFCL."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from oumi.core.types.conversation import Message, Role
from tqdm import tqdm

from coalm_oumi.core.jsontext import Json
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.execution import ExecutedStep, Executor
from coalm_oumi.evaluation.bfcl.official import Official
from coalm_oumi.evaluation.styles import ChatRecord, Style
from coalm_oumi.llm.recorded import Question, RecordedModel
from coalm_oumi.llm.waiting import Batches

STEP_LIMIT = 20
"""A turn with more executed steps ends the conversation, which is judged wrong
(`MAXIMUM_STEP_LIMIT` of bfcl-eval)."""


@dataclass(frozen=True, slots=True)
class Participants:
    """The participants of conversations.

    Attributes:
        model: Answers the questions.
        worker: Reads the answers, and reads and writes the memories of samples that have one.
        execute: Executes the calls, in fresh environments.
        style: The prompt style.
    """

    model: RecordedModel
    worker: BfclWorker
    execute: Executor
    style: Style | Official


def opening(entry: BfclEntry, style: Style) -> list[Message]:
    """Returns the first turn of a sample in a prompt style."""
    return style.ask(entry.turns[0], entry.functions, entry.prompted)


def converse(
    participants: Participants, entries: Sequence[BfclEntry]
) -> list[tuple[BfclEntry, list[list[Json]]]]:
    """Runs all conversations concurrently. Each continues as soon as its answer has arrived.

    The loop is that of `inference_multi_turn_prompting` and `inference_multi_turn_FC` of bfcl-eval:
    a turn continues while its decoder reads calls, and ends at an answer without any.

    Args:
        participants: The model, the worker, the executor and the style.
        entries: Samples whose calls are executed. Their memories were saved before.

    Returns:
        Each sample as it was asked, and the answer of each step of each turn. A conversation that
        the step limit ended has fewer turns than its sample.

    Raises:
        CoalmError: The engine or the worker failed. Recorded answers are kept.
    """
    worker, style = participants.worker, participants.style
    begun = [worker.recall(entry) if entry.has_memory else entry for entry in entries]
    if isinstance(style, Official):
        requests = worker.ask(style.model, begun)
        talks = [
            _OfficialTalk(entry, style, worker, request)
            for entry, request in zip(begun, requests, strict=True)
        ]
    else:
        talks = [_StyledTalk(entry, style) for entry in begun]
    # The worker answers one request at a time. What comes meanwhile is its next one, so that
    # searches of the web run side by side.
    desk: Batches[tuple[_Talk, str], None] = Batches(lambda heard: _take(participants, heard))
    with tqdm(total=sum(len(entry.turns) for entry in entries), desc="turns") as bar:

        async def lead(talk: _Talk) -> None:
            while not talk.finished:
                before = talk.turn
                await desk.get((talk, await participants.model.text(talk.question())))
                bar.update(talk.turn - before)

        for _ in participants.model.hold(map(lead, talks), within=desk.open()):
            pass
    for entry in entries:
        if entry.kind == "memory_prereq":
            worker.keep(entry)
    return [(entry, talk.answers) for entry, talk in zip(begun, talks, strict=True)]


def _take(participants: Participants, heard: Sequence[tuple["_Talk", str]]) -> list[None]:
    """Takes an answer in each of some conversations: reads it, and executes its calls."""
    acting: list[tuple[_Talk, ExecutedStep]] = []
    talks, answers = [talk for talk, _ in heard], [answer for _, answer in heard]
    for talk, answer, calls in zip(talks, *_read(participants, talks, answers), strict=True):
        if step := talk.hear(answer, calls):
            acting.append((talk, step))
    results = participants.execute([step for _, step in acting])
    for (talk, step), result in zip(acting, results, strict=True):
        talk.tell(step, result)
    return [None] * len(heard)


def _read(
    participants: Participants, talks: Sequence["_Talk"], answers: Sequence[str]
) -> tuple[list[Json], list[list[str] | None]]:
    """Returns the answers as they are kept, and the calls in each."""
    worker, style = participants.worker, participants.style
    if not isinstance(style, Official):
        return list(answers), worker.read(style.form, [style.official(text) for text in answers])
    steps = [
        (talk.entry, "answer", style.written(answer))
        for talk, answer in zip(talks, answers, strict=True)
    ]
    replies = worker.step(style.model, steps)
    return [reply["result"] for reply in replies], [reply["calls"] for reply in replies]


class _Talk(ABC):
    """One conversation, and where it stands."""

    def __init__(self, entry: BfclEntry) -> None:
        self.answers: list[list[Json]] = [[]]
        self.turn = 0
        self.finished = False
        self.entry = entry

    def question(self) -> Question:
        """Returns what to ask the model next."""
        return Question(self._key(), *self._asked())

    def hear(self, answer: Json, calls: Sequence[str] | None) -> ExecutedStep | None:
        """Takes an answer: returns what to execute, or goes to the next turn without calls."""
        key = self._key()
        self.answers[-1].append(answer)
        if calls:
            return ExecutedStep(key, self.entry, calls)
        self.turn += 1
        self.finished = self.turn == len(self.entry.turns)
        if not self.finished:
            self._say_next(answer)
            self.answers.append([])
        return None

    def tell(self, step: ExecutedStep, results: Sequence[str]) -> None:
        """Takes what the calls of the last answer gave."""
        self.finished = len(self.answers[-1]) > STEP_LIMIT
        if not self.finished:
            self._tell(step, results)

    def _key(self) -> str:
        place = f"{self.turn}/{len(self.answers[-1])}"
        return f"{self.entry.category}/{self.entry.index}/{place}"

    @abstractmethod
    def _asked(self) -> tuple[Sequence[Message], Sequence[Json] | None]:
        """Returns the messages and the tools of the next question."""

    @abstractmethod
    def _say_next(self, answer: Json) -> None:
        """Adds the last answer and the user's next turn."""

    @abstractmethod
    def _tell(self, step: ExecutedStep, results: Sequence[str]) -> None:
        """Adds the last answer and what its calls gave."""


class _OfficialTalk(_Talk):
    """A conversation that the package's handler holds in the worker."""

    def __init__(
        self, entry: BfclEntry, style: Official, worker: BfclWorker, request: Json
    ) -> None:
        super().__init__(entry)
        self._style = style
        self._worker = worker
        self._request = request

    def _asked(self) -> tuple[Sequence[Message], Sequence[Json] | None]:
        return self._style.messages(self._request), self._request.get("tools")

    def _say_next(self, answer: Json) -> None:
        self._step("turn", self.turn)

    def _tell(self, step: ExecutedStep, results: Sequence[str]) -> None:
        self._step("results", list(results))

    def _step(self, kind: str, value: Json) -> None:
        (self._request,) = self._worker.step(self._style.model, [(self.entry, kind, value)])


class _StyledTalk(_Talk):
    """A conversation in a prompt style."""

    def __init__(self, entry: BfclEntry, style: Style) -> None:
        super().__init__(entry)
        self._style = style
        self._tools = entry.tools
        self._messages = opening(entry, style)

    def _asked(self) -> tuple[Sequence[Message], Sequence[Json] | None]:
        return self._messages, self._tools if self._style.native else None

    def _say_next(self, answer: Json) -> None:
        said: Sequence[ChatRecord] = self.entry.turns[self.turn]
        if added := self.entry.additions.get(self.turn):
            prompt = added.short_prompt if self._style.native else added.prompt
            said = [{"role": "user", "content": prompt}]
            self._tools = added.tools
        answered = Message(role=Role.ASSISTANT, content=answer)
        self._messages = [*self._messages, answered, *self._style.say(said)]

    def _tell(self, step: ExecutedStep, results: Sequence[str]) -> None:
        told = self._style.tell(self.answers[-1][-1], step.calls, results)
        self._messages = [*self._messages, *told]
