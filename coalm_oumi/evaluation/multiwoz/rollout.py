"""Lets agent and user talk: many dialogues step by step together, each in its own world.

All live dialogues ask the model at once, so that batching and concurrency are the engine's.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from oumi.core.types.conversation import Message, Role

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.agent import (
    AgentFormat,
    AgentTurn,
    Decision,
    Step,
    StepError,
)
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.user import User
from coalm_oumi.evaluation.multiwoz.world import Booking, World
from coalm_oumi.llm.chat import ChatError
from coalm_oumi.llm.recorded import Generated, Question, is_hopeless

_FEW = 3
"""So many dialogues may be left that all break for unrelated reasons, too long ones say."""

STOPPED_REPLY = "I am sorry, I could not work that out. Could you say it another way?"
"""What the user hears where the agent took all its steps without a reply."""


Ask = Callable[[Sequence[Question]], list[Generated]]
"""Puts questions to the model, all at once."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A dialogue that was led.

    Attributes:
        dialogue: What it was to be.
        turns: What was said and done.
        bookings: What was booked.
        usage: The tokens of the agent.
        error: Why it broke off; empty where it came to its end.
    """

    dialogue: Dialogue
    turns: tuple[AgentTurn, ...]
    bookings: tuple[Booking, ...]
    usage: Usage
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """How an agent is asked.

    Attributes:
        form: The written form of prompt and answers.
        max_steps: How many answers of the model a turn may take. AutoTOD allows 5.
        history: What earlier turns the agent sees: its `own` replies, or those of the human
            operator in the `reference` dialogue, as state tracking has them.
    """

    form: AgentFormat
    max_steps: int = 5
    history: Literal["own", "reference"] = "own"


class Episode:
    """A dialogue under way."""

    def __init__(self, dialogue: Dialogue, world: World, asking: Asking) -> None:
        """Starts it, with nothing said.

        Args:
            dialogue: The goal, and the reference dialogue.
            world: Its world.
            asking: How the agent is asked.
        """
        self.dialogue = dialogue
        self._world = world
        self._asking = asking
        self._turns: list[AgentTurn] = []
        self._user = ""
        self._steps: list[Step] = []
        self._usage = Usage()

    @property
    def said(self) -> list[tuple[str, str]]:
        """What user and agent said in each turn so far."""
        return [(turn.user, turn.reply) for turn in self._turns]

    def hear(self, user: str) -> None:
        """Takes what the user says."""
        self._user = user
        self._steps = []

    def question(self) -> Question:
        """Returns what to ask the model next."""
        prompt = self._asking.form.render(self._history(), self._user, self._steps)
        return Question(
            key=f"{self.dialogue.dialogue_id}/{len(self._turns)}/{len(self._steps)}",
            messages=[Message(role=Role.USER, content=prompt)],
        )

    def _history(self) -> Sequence[AgentTurn]:
        if self._asking.history == "own":
            return self._turns
        # The operator's reply need not follow from what the agent's own calls returned, so these
        # are left out.
        return [
            AgentTurn(turn.user, (), reference.system)
            for turn, reference in zip(self._turns, self.dialogue.turns, strict=False)
        ]

    def take(self, generated: Generated) -> bool:
        """Carries out what the model wrote.

        Returns:
            True if the agent replied, so that it is the user's turn.
        """
        response = generated.text or ""
        self._usage += generated.usage
        reply = None
        try:
            decision = self._asking.form.parse(response)
            reply = decision.reply
            observation = self._world.call(decision.call) if decision.call else ""
            self._steps.append(Step(response, decision, observation, generated.is_cut))
            for call in decision.more_calls:
                self._steps.append(Step("", Decision("", call=call), self._world.call(call)))
        except StepError as error:
            self._steps.append(Step(response, None, str(error), generated.is_cut))
        if reply is None and len(self._steps) >= self._asking.max_steps:
            reply = STOPPED_REPLY
        if reply is not None:
            self._turns.append(AgentTurn(self._user, tuple(self._steps), reply))
        return reply is not None

    def end(self, error: str = "") -> Rollout:
        """Ends the dialogue."""
        bookings = tuple(self._world.bookings())
        return Rollout(self.dialogue, tuple(self._turns), bookings, self._usage, error)


def roll_out(
    dialogues: Sequence[Dialogue],
    *,
    database: Database,
    asking: Asking,
    ask: Ask,
    user: User,
    concurrency: int,
) -> Iterator[Rollout]:
    """Leads dialogues, `concurrency` of them at a time, and yields each when it ends.

    A dialogue whose request fails ends with an error, and the others go on.

    Args:
        dialogues: The dialogues.
        database: The databases they share.
        asking: How the agent is asked.
        ask: The agent's model.
        user: Who talks to it.
        concurrency: How many dialogues are live at a time.

    Raises:
        CoalmError: The agent's or the user's model answers nothing at all.
    """
    waiting = iter(dialogues)
    live: list[Episode] = []
    silent: list[Episode] = []  # those that wait for the user
    while True:
        free = concurrency - len(live) - len(silent)
        for dialogue in itertools.islice(waiting, max(free, 0)):
            world = World(database, dialogue.dialogue_id, dialogue.goals)
            silent.append(Episode(dialogue, world, asking))
        utterances = user([(episode.dialogue, episode.said) for episode in silent])
        replies = [said for episode, said in zip(silent, utterances, strict=True) if episode.said]
        failures = [said for said in replies if isinstance(said, ChatError)]
        if len(failures) == len(replies) > _FEW:
            raise CoalmError(f"the user's model answers nothing: {failures[0]}")
        for episode, utterance in zip(silent, utterances, strict=True):
            if isinstance(utterance, str):
                episode.hear(utterance)
                live.append(episode)
            else:
                yield episode.end(str(utterance or ""))
        silent = []
        if live:
            broken, silent, live = _step(live, ask)
            yield from broken
        elif not utterances:
            return


def _step(live: Sequence[Episode], ask: Ask) -> tuple[list[Rollout], list[Episode], list[Episode]]:
    """Asks the model once for every live dialogue: those that broke, replied, and act on."""
    answers = ask([episode.question() for episode in live])
    if is_hopeless(answers):
        raise CoalmError(f"the agent's model answers nothing: {answers[0].error}")
    broken, replied, acting = [], [], []
    for episode, answer in zip(live, answers, strict=True):
        if answer.text is None:
            broken.append(episode.end(answer.error))
        elif episode.take(answer):
            replied.append(episode)
        else:
            acting.append(episode)
    return broken, replied, acting
