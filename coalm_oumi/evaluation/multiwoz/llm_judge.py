"""The judge of AutoTOD: a language model reads a dialogue and answers questions about it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import is_object, loads, unfenced
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.judge import Answers, questions
from coalm_oumi.evaluation.multiwoz.user import Said
from coalm_oumi.evaluation.multiwoz.values import NO_VALUE, clean
from coalm_oumi.llm.chat import BudgetError, ChatClient, Endpoint
from coalm_oumi.rendering import prompts


@dataclass(frozen=True, slots=True)
class JudgeCase:
    """A domain of a dialogue to be judged."""

    dialogue: Dialogue
    domain: str
    said: Said


def render(case: JudgeCase) -> str:
    """Writes the questions of a case for a language model."""
    goal = case.dialogue.goals[case.domain]
    return prompts.render(
        "multiwoz_judge",
        message=case.dialogue.message,
        turns=case.said,
        domain=case.domain,
        slots=questions(case.domain, goal),
        books=bool(goal.book),
    )


def parse(text: str) -> dict[str, str]:
    """Reads a language model's answers, a JSON object with or without text around it.

    Raises:
        CoalmError: The text is something else.
    """
    start, end = text.find("{"), text.rfind("}")
    try:
        record = loads(text[start : end + 1] if 0 <= start < end else unfenced(text))
    except ValueError as error:
        raise CoalmError(f"the judge did not answer in JSON: {error}") from error
    if not is_object(record):
        raise CoalmError("the judge answered in JSON, but not with an object")
    return {
        slot: "none" if value is None or clean(value) in NO_VALUE else str(value)
        for slot, value in record.items()
    }


def ask(
    cases: Sequence[JudgeCase],
    endpoint: Endpoint,
    answered: Callable[[JudgeCase, Answers | str, Usage], None],
    *,
    max_usd: float | None = None,
    used: Usage | None = None,
) -> None:
    """Asks about all cases, as many at a time as the endpoint allows.

    Args:
        cases: What to judge.
        endpoint: The model.
        answered: Called with each case's answers as they come, or why there are none.
        max_usd: Stop before more than this is spent; None for no limit.
        used: What earlier runs used of the same budget.

    Raises:
        BudgetError: No more may be spent.
    """
    asyncio.run(_ask(cases, endpoint, answered, max_usd, used))


async def _ask(
    cases: Sequence[JudgeCase],
    endpoint: Endpoint,
    answered: Callable[[JudgeCase, Answers | str, Usage], None],
    max_usd: float | None,
    used: Usage | None,
) -> None:
    async with ChatClient(endpoint, max_usd=max_usd, used=used) as client:

        async def one(case: JudgeCase) -> None:
            usage = Usage()
            try:
                answer = await client.complete(
                    [{"role": "user", "content": render(case)}],
                    request_id=f"{case.dialogue.dialogue_id}-{case.domain}",
                    temperature=0.0,
                    max_tokens=512,
                )
                usage = answer.usage
                answered(case, parse(answer.text), usage)
            except BudgetError:
                raise
            except CoalmError as error:
                answered(case, str(error), usage)

        await asyncio.gather(*map(one, cases))
