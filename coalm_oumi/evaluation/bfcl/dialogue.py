"""The multi-turn conversations: calls are executed and their results fed back, as BFCL does it."""

from collections.abc import Sequence

from oumi.core.types.conversation import Message, Role
from tqdm import tqdm

from coalm_oumi.calls import CallError
from coalm_oumi.evaluation.bfcl.client import Entry, Worker
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
    model: RecordedModel, worker: Worker, style: Style, entries: Sequence[Entry]
) -> list[list[list[str]]]:
    """Holds all conversations side by side, so that each step is one batch for the engine.

    The loop is that of `inference_multi_turn_prompting` and `inference_multi_turn_FC` of bfcl-eval:
    a turn goes on as long as the model writes calls, and ends at an answer without any.

    Args:
        model: Answers.
        worker: Executes the calls. Its environments must not have been used before.
        style: How the model is asked.
        entries: Multi-turn samples.

    Returns:
        For each sample, for each turn, the answer of each step. A conversation that was ended by
        the step limit has fewer turns than its sample.

    Raises:
        CoalmError: The engine or the worker failed. Recorded answers are kept.
    """
    talks = [_Talk(entry, style) for entry in entries]
    with tqdm(total=sum(len(entry.turns) for entry in entries), desc="turns") as bar:
        while open_ := [talk for talk in talks if not talk.finished]:
            answers = model.ask([talk.question() for talk in open_], progress=False)
            for talk, answer in zip(open_, answers, strict=True):
                before = talk.turn
                talk.hear(answer, worker)
                bar.update(talk.turn - before)
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
        entry, step = self._entry, len(self.answers[-1])
        return Question(
            key=f"{entry.category}/{entry.index}/{self.turn}/{step}",
            messages=self._messages,
            tools=self._tools if self._style.native else None,
        )

    def hear(self, answer: str, worker: Worker) -> None:
        """Takes the answer of a step: executes its calls, or goes to the next turn."""
        self.answers[-1].append(answer)
        try:
            called = [self._style.execution(call) for call in self._style.read(answer)]
        except CallError:
            called = []
        if not called:
            self._messages = [*self._messages, Message(role=Role.ASSISTANT, content=answer)]
            self._next_turn()
            return
        results = worker.execute(self._entry, called)
        self._messages = [*self._messages, *self._style.tell(answer, called, results)]
        self.finished = len(self.answers[-1]) > STEP_LIMIT

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
