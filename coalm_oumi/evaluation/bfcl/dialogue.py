"""The conversations: calls are executed and their results fed back, as BFCL does it."""

from collections.abc import Sequence

from oumi.core.types.conversation import Message, Role
from tqdm import tqdm

from coalm_oumi.evaluation.bfcl.client import Entry, Worker
from coalm_oumi.evaluation.bfcl.execution import Executor, Step
from coalm_oumi.evaluation.styles import Prompt, Style
from coalm_oumi.llm.recorded import Question, RecordedModel

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
    execute: Executor,
    style: Style,
    entries: Sequence[Entry],
) -> list[tuple[Entry, list[list[str]]]]:
    """Holds all conversations side by side, so that each step is one batch for the engine.

    The loop is that of `inference_multi_turn_prompting` and `inference_multi_turn_FC` of bfcl-eval:
    a turn goes on as long as its decoder reads calls, and ends at an answer without any.

    Args:
        model: Answers.
        worker: Reads the answers, and reads and writes the memories of samples that have one.
        execute: Executes the calls, in environments that have not been used before.
        style: How the model is asked.
        entries: Samples whose calls are executed. What one remembers was kept before.

    Returns:
        Each sample as it was asked, and for each turn the answer of each step. A conversation that
        was ended by the step limit has fewer turns than its sample.

    Raises:
        CoalmError: The engine or the worker failed. Recorded answers are kept.
    """
    begun = [worker.recall(entry) if entry.has_memory else entry for entry in entries]
    talks = [_Talk(entry, style) for entry in begun]
    with tqdm(total=sum(len(entry.turns) for entry in entries), desc="turns") as bar:
        while live := [talk for talk in talks if not talk.finished]:
            before = sum(talk.turn for talk in live)
            answers = model.ask([talk.question() for talk in live], progress=False)
            read = worker.read(style.form, [style.official(answer) for answer in answers])
            acting: list[tuple[_Talk, Step]] = []
            for talk, answer, calls in zip(live, answers, read, strict=True):
                if step := talk.hear(answer, calls):
                    acting.append((talk, step))
            results = execute([step for _, step in acting])
            for (talk, step), result in zip(acting, results, strict=True):
                talk.tell(step, result)
            bar.update(sum(talk.turn for talk in live) - before)
    for entry in entries:
        if entry.kind == "memory_prereq":
            worker.keep(entry)
    return [(entry, talk.answers) for entry, talk in zip(begun, talks, strict=True)]


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

    def hear(self, answer: str, calls: Sequence[str] | None) -> Step | None:
        """Takes an answer: returns what to execute, or goes to the next turn without calls."""
        key = self._key(len(self.answers[-1]))
        self.answers[-1].append(answer)
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
