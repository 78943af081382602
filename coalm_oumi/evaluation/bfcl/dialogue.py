"""The conversations: calls are executed and their results fed back, as BFCL does it."""

from collections.abc import Sequence

from oumi.core.types.conversation import Message, Role
from tqdm import tqdm

from coalm_oumi.calls import CallError
from coalm_oumi.evaluation.bfcl.client import Entry, Worker
from coalm_oumi.evaluation.bfcl.execution import Execute, Step
from coalm_oumi.evaluation.inference import Question, RecordedModel
from coalm_oumi.evaluation.styles import Prompt, Style

STEP_LIMIT = 20
"""A turn with more executed steps ends the conversation, which is judged wrong
(`MAXIMUM_STEP_LIMIT` of bfcl-eval)."""


def opening(entry: Entry, style: Style) -> list[Message]:
    """Returns the first turn of a sample in a prompt style."""
    return style.ask(
        Prompt(
            messages=entry.turns[0],
            functions=entry.functions,
            tools=entry.tools,
            prompted=entry.prompted,
        )
    )


def converse(
    model: RecordedModel,
    worker: Worker,
    execute: Execute,
    style: Style,
    entries: Sequence[Entry],
) -> list[list[list[str]]]:
    """Holds all conversations side by side, so that each step is one batch for the engine.

    The loop is that of `inference_multi_turn_prompting` and `inference_multi_turn_FC` of bfcl-eval:
    a turn goes on as long as the model writes calls, and ends at an answer without any.

    Args:
        model: Answers.
        worker: Reads and writes the memories of the samples that have one.
        execute: Executes the calls, in environments that have not been used before.
        style: How the model is asked.
        entries: Samples whose calls are executed. What one remembers was kept before.

    Returns:
        For each sample, for each turn, the answer of each step. A conversation that was ended by
        the step limit has fewer turns than its sample.

    Raises:
        CoalmError: The engine or the worker failed. Recorded answers are kept.
    """
    begun = [worker.recall(entry) if entry.has_memory else entry for entry in entries]
    talks = [_Talk(entry, style) for entry in begun]
    with tqdm(total=sum(len(entry.turns) for entry in entries), desc="turns") as bar:
        while open_ := [talk for talk in talks if not talk.finished]:
            before = sum(talk.turn for talk in open_)
            answers = model.ask([talk.question() for talk in open_], progress=False)
            steps = [talk.hear(answer) for talk, answer in zip(open_, answers, strict=True)]
            acting = [(talk, step) for talk, step in zip(open_, steps, strict=True) if step]
            results = execute([step for _, step in acting])
            for (talk, step), result in zip(acting, results, strict=True):
                talk.tell(step, result)
            bar.update(sum(talk.turn for talk in open_) - before)
    for entry in entries:
        if entry.writes_memory:
            worker.keep(entry)
    return [talk.answers for talk in talks]


class _Talk:
    """One conversation, and where it stands."""

    def __init__(self, entry: Entry, style: Style) -> None:
        self.answers: list[list[str]] = [[]]
        self.turn = 0
        self.finished = False
        self._entry = entry
        self._style = style
        self._tools = entry.tools
        self._messages = opening(entry, style)

    def question(self) -> Question:
        return Question(
            key=self._key(len(self.answers[-1])),
            messages=self._messages,
            tools=self._tools if self._style.native else None,
        )

    def hear(self, answer: str) -> Step | None:
        """Takes an answer: returns its calls, or goes to the next turn where it has none."""
        key = self._key(len(self.answers[-1]))
        self.answers[-1].append(answer)
        try:
            calls = [self._style.execution(call) for call in self._style.read(answer)]
        except CallError:
            calls = []
        if calls:
            return Step(key, self._entry, calls)
        self._messages = [*self._messages, Message(role=Role.ASSISTANT, content=answer)]
        self._next_turn()
        return None

    def tell(self, step: Step, results: Sequence[str]) -> None:
        """Takes what the calls of the last answer gave."""
        said = self._style.tell(self.answers[-1][-1], step.calls, results)
        self._messages = [*self._messages, *said]
        self.finished = len(self.answers[-1]) > STEP_LIMIT

    def _key(self, step: int) -> str:
        return f"{self._entry.category}/{self._entry.index}/{self.turn}/{step}"

    def _next_turn(self) -> None:
        self.turn += 1
        if self.turn == len(self._entry.turns):
            self.finished = True
            return
        self.answers.append([])
        said = self._entry.turns[self.turn]
        if added := self._entry.additions.get(self.turn):
            prompt = added.short_prompt if self._style.native else added.prompt
            said = [{"role": "user", "content": prompt}]
            self._tools = added.tools
        self._messages = [*self._messages, *self._style.say(said)]
