"""Runs dialogues of agent and user concurrently, each in its own world.

Each continues as soon as its answer has arrived. The engine batches and limits concurrency.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from oumi.core.configs.params.environment_params import EnvironmentParams

from coalm_oumi.agent.session import AgentSession
from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.agent.turns import AgentForm, AgentTurn
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.user import SimulatedUser, reference_utterance
from coalm_oumi.evaluation.multiwoz.world import ENV_TYPE, TOOLS, Booking, World
from coalm_oumi.llm.recorded import Generated, Question, RecordedModel


@dataclass(frozen=True, slots=True)
class Rollout:
    """A dialogue that ran.

    Attributes:
        dialogue: The goal and the reference dialogue.
        turns: The turns.
        bookings: The bookings.
        usage: The tokens of the agent.
        error: Why it broke off; empty if it ended normally.
    """

    dialogue: Dialogue
    turns: tuple[AgentTurn, ...]
    bookings: tuple[Booking, ...]
    usage: Usage
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """The settings of an agent.

    Attributes:
        form: The written form of prompt and answers.
        max_steps: The most answers of the model per turn. AutoTOD allows 5.
        history: The replies of earlier turns that the agent sees: its `own`, or the human
            operator's in the `reference` dialogue, as in state tracking.
    """

    form: AgentForm
    max_steps: int = 5
    history: Literal["own", "reference"] = "own"


class Episode:
    """A dialogue under way: an agent's session in its own world."""

    def __init__(self, dialogue: Dialogue, world: World, asking: Asking) -> None:
        """Starts it, with nothing said.

        Args:
            dialogue: The goal, and the reference dialogue.
            world: Its world.
            asking: How the agent is asked.
        """
        self.dialogue = dialogue
        self._world = world
        self._history = asking.history
        params = EnvironmentParams(id="multiwoz", env_type=ENV_TYPE, tools=list(TOOLS))
        self._tools = Toolbox([params], build=lambda _: world)
        self._session = AgentSession(asking.form, self._tools.call, max_steps=asking.max_steps)
        self._usage = Usage()

    @property
    def said(self) -> list[tuple[str, str]]:
        """The words of user and agent in each turn so far."""
        return [(turn.user, turn.reply) for turn in self._session.turns]

    def hear(self, user: str) -> None:
        """Takes what the user says."""
        self._session.hear(user)

    def question(self) -> Question:
        """Returns what to ask the model next."""
        prompt = self._session.prompt(self._shown_history())
        turn, step = len(self._session.turns), len(self._session.steps)
        return Question(
            key=f"{self.dialogue.dialogue_id}/{turn}/{step}",
            messages=prompt.messages,
            tools=prompt.tools,
        )

    def _shown_history(self) -> Sequence[AgentTurn]:
        if self._history == "own":
            return self._session.turns
        # The operator's reply need not follow from the results of the agent's calls, so these are
        # left out.
        return [
            AgentTurn(turn.user, (), reference.system)
            for turn, reference in zip(self._session.turns, self.dialogue.turns, strict=False)
        ]

    def take(self, generated: Generated) -> bool:
        """Carries out what the model wrote.

        Returns:
            True if the agent replied, so that it is the user's turn.
        """
        self._usage += generated.usage
        reply = self._session.take(generated.text or "", is_cut=generated.is_cut)
        return reply is not None

    def end(self, error: str = "") -> Rollout:
        """Ends the dialogue."""
        bookings = tuple(self._world.bookings())
        self._tools.close()
        return Rollout(self.dialogue, tuple(self._session.turns), bookings, self._usage, error)


def roll_out(
    dialogues: Sequence[Dialogue],
    *,
    database: Database,
    asking: Asking,
    model: RecordedModel,
    user: SimulatedUser | None,
    concurrency: int,
) -> Iterator[Rollout]:
    """Runs dialogues, `concurrency` of them at a time, and yields each when it ends.

    A dialogue whose request fails ends with an error, and the others continue.

    Args:
        dialogues: The dialogues.
        database: The databases they share.
        asking: How the agent is asked.
        model: The agent's model.
        user: Who talks to it; None for the users of the reference dialogues.
        concurrency: How many dialogues are live at a time.

    Raises:
        CoalmError: The agent's or the user's model answers nothing at all.
    """

    async def lead(dialogue: Dialogue) -> Rollout:
        world = World(database, dialogue.dialogue_id, dialogue.goals)
        episode = Episode(dialogue, world, asking)
        while True:
            if user is None:
                utterance = reference_utterance(dialogue, episode.said)
            else:
                utterance = await user.say(dialogue, episode.said)
            if not isinstance(utterance, str):
                return episode.end(str(utterance or ""))
            episode.hear(utterance)
            has_replied = False
            while not has_replied:
                answer = await model.answer(episode.question())
                if answer.text is None:
                    return episode.end(answer.error)
                has_replied = episode.take(answer)

    yield from model.run(map(lead, dialogues), at_once=concurrency, within=user)
