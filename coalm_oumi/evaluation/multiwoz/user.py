"""Who the agent talks to: the reference dialogue's user, or a language model with the goal."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.llm.chat import BudgetError, ChatClient, ChatError, Endpoint
from coalm_oumi.rendering import prompts

Said = Sequence[tuple[str, str]]
"""What user and agent said in each turn so far."""

User = Callable[[Sequence[tuple[Dialogue, Said]]], list[str | ChatError | None]]
"""Says what the user says next in each of several dialogues.

None ends the dialogue; an error says that this one cannot go on.
"""

_END = "dialogue ends"


def corpus(heard: Sequence[tuple[Dialogue, Said]]) -> list[str | ChatError | None]:
    """Says what the user of the reference dialogue said, whatever the agent answers."""
    return [
        dialogue.turns[len(said)].user if len(said) < len(dialogue.turns) else None
        for dialogue, said in heard
    ]


class SimulatedUser:
    """A language model that plays the user, with goal and reference dialogue, as AutoTOD's does.

    Attributes:
        endpoint: The model.
        used: All tokens so far.
        used_in: The tokens of each dialogue.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        max_turns: int,
        *,
        max_usd: float | None = None,
        used: Usage | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: The model.
            max_turns: The user leaves after this many turns. AutoTOD's does after 15.
            max_usd: Stop before more than this is spent; None for no limit.
            used: What earlier runs used of the same budget.
        """
        self.endpoint = endpoint
        self._max_turns = max_turns
        self._max_usd = max_usd
        self.used = used or Usage()
        self.used_in: dict[str, Usage] = defaultdict(Usage)

    def __call__(self, heard: Sequence[tuple[Dialogue, Said]]) -> list[str | ChatError | None]:
        """Asks for all dialogues at once. The first utterance is the reference dialogue's.

        Raises:
            BudgetError: No more may be spent.
        """
        return asyncio.run(self._say_all(heard))

    async def _say_all(
        self, heard: Sequence[tuple[Dialogue, Said]]
    ) -> list[str | ChatError | None]:
        async with ChatClient(self.endpoint, max_usd=self._max_usd, used=self.used) as client:
            said = await asyncio.gather(
                *(self._say(client, dialogue, turns) for dialogue, turns in heard)
            )
            self.used = client.used
        return said

    async def _say(
        self, client: ChatClient, dialogue: Dialogue, said: Said
    ) -> str | ChatError | None:
        if not said:
            return dialogue.turns[0].user
        if len(said) >= self._max_turns:
            return None
        prompt = prompts.render(
            "multiwoz_user", message=dialogue.message, reference=dialogue.turns, turns=said
        )
        try:
            answer = await client.complete(
                [{"role": "user", "content": prompt}],
                request_id=f"{dialogue.dialogue_id}-{len(said)}",
                temperature=0.0,
                max_tokens=256,
            )
        except BudgetError:
            raise
        except ChatError as error:
            return error
        self.used_in[dialogue.dialogue_id] += answer.usage
        utterance = answer.text.strip().removeprefix("User:").partition("AI Assistant:")[0].strip()
        return None if not utterance or _END in utterance.lower() else utterance
