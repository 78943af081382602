"""The users: that of the reference dialogue, or a language model with the goal."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Self

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.models import PaidModel, used
from coalm_oumi.files.journal import Journal
from coalm_oumi.llm.chat import BudgetError, ChatClient, ChatError
from coalm_oumi.rendering import prompts

Said = Sequence[tuple[str, str]]
"""The words of user and agent in each turn so far."""

_END = "dialogue ends"

_FEW = 3
"""The most failures for unrelated reasons before the user's model has given any answer."""


def reference_utterance(dialogue: Dialogue, said: Said) -> str | None:
    """Returns the next words of the reference dialogue's user, regardless of the agent's answers.

    Returns:
        None at the dialogue's end.
    """
    return dialogue.turns[len(said)].user if len(said) < len(dialogue.turns) else None


class SimulatedUser:
    """A language model that plays the user, with goal and reference dialogue, as AutoTOD's does.

    Opened and asked in one event loop.

    Attributes:
        endpoint: The model.
        used_in: The tokens of each dialogue.
    """

    def __init__(self, endpoint: PaidModel, max_turns: int, journal: Journal) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: The model.
            max_turns: The user leaves after this many turns. AutoTOD's does after 15.
            journal: Holds each answer, so that none is paid for twice.
        """
        self.endpoint = endpoint
        self._max_turns = max_turns
        self._journal = journal
        self.used_in: dict[str, Usage] = defaultdict(Usage)

    async def __aenter__(self) -> Self:
        """Opens the client."""
        before = used(record["usage"] for record in self._journal.records.values())
        self._client = ChatClient(self.endpoint, max_usd=self.endpoint.max_usd, used=before)
        self._answers, self._failures = 0, 0
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the client."""
        await self._client.__aexit__(None, None, None)

    async def say(self, dialogue: Dialogue, said: Said) -> str | ChatError | None:
        """Asks the model. The first utterance is the reference dialogue's.

        Returns:
            What the user says next; None ends the dialogue, and an error says that it cannot go on.

        Raises:
            BudgetError: No more may be spent.
            WriteError: The answer cannot be recorded.
            CoalmError: The model answers nothing.
        """
        if not said:
            return dialogue.turns[0].user
        if len(said) >= self._max_turns:
            return None
        prompt = prompts.render(
            "multiwoz_user", message=dialogue.message, reference=dialogue.turns, turns=said
        )
        key = f"{dialogue.dialogue_id}/{len(said)}#{digest(prompt)}"
        if key not in self._journal:
            try:
                answer = await self._client.complete(
                    [{"role": "user", "content": prompt}],
                    request_id=f"{dialogue.dialogue_id}-{len(said)}",
                    temperature=0.0,
                    max_tokens=256,
                )
            except BudgetError:
                raise
            except ChatError as error:
                self._failures += 1
                if not self._answers and self._failures > _FEW:
                    raise CoalmError(f"the model of the user gives no answer: {error}") from error
                return error
            self._journal.append(key, {"text": answer.text, "usage": asdict(answer.usage)})
        self._answers += 1
        record = self._journal.records[key]
        self.used_in[dialogue.dialogue_id] += Usage(**record["usage"])
        utterance = (
            record["text"].strip().removeprefix("User:").partition("AI Assistant:")[0].strip()
        )
        return None if not utterance or _END in utterance.lower() else utterance
