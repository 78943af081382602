"""The judge of AutoTOD: a language model reads a dialogue and answers questions about it.

Its answers are kept in a journal, so that none is paid for twice.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_object, loads, unfenced
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.judge import Answers, questions
from coalm_oumi.evaluation.multiwoz.lead import templates
from coalm_oumi.evaluation.multiwoz.models import Account, PaidModel, account, used
from coalm_oumi.evaluation.multiwoz.result import RolloutRecord, said
from coalm_oumi.evaluation.multiwoz.user import Said
from coalm_oumi.evaluation.multiwoz.values import NO_VALUE, clean
from coalm_oumi.files.journal import Journal
from coalm_oumi.llm.chat import BudgetError, ChatClient
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


def judge(
    dialogues: Sequence[Dialogue],
    records: Mapping[str, RolloutRecord],
    model: PaidModel,
    folder: Path,
) -> tuple[dict[str, dict[str, Answers]], Account]:
    """Asks about every domain of every dialogue that the journal holds no answer to.

    Args:
        dialogues: The goals and reference dialogues.
        records: What was said and done, by dialogue.
        model: The judge.
        folder: Where the journal is.

    Returns:
        Its answers by dialogue and domain, and its tokens and cost.

    Raises:
        BudgetError: No more may be spent.
        CoalmError: The model answers nothing at all.
    """
    cases = _cases(dialogues, records)
    made_by = {"model": model.model, "prompts": prompts.fingerprint(*templates())}
    with Journal(folder / "judgements.jsonl", made_by=made_by) as journal:
        done = {key for key, record in journal.records.items() if not record["error"]}
        before = used(record["usage"] for record in journal.records.values())
        client = ChatClient(model, max_usd=model.max_usd, used=before)
        asyncio.run(_ask(cases, done, client, journal))
        after = used(record["usage"] for record in journal.records.values())
        return _answers(cases, journal.records, model.model), account(after, model)


async def _ask(
    cases: Mapping[str, JudgeCase], done: Collection[str], client: ChatClient, journal: Journal
) -> None:
    """Asks about the cases that are not done, as many at a time as the endpoint allows."""
    with tqdm(total=len(cases), initial=len(cases.keys() & done), desc="judge") as bar:

        async def ask(key: str, case: JudgeCase) -> None:
            record: Json = {"answers": None, "error": "", "usage": asdict(Usage())}
            try:
                answer = await client.complete(
                    [{"role": "user", "content": render(case)}],
                    request_id=f"{case.dialogue.dialogue_id}-{case.domain}",
                    temperature=0.0,
                    max_tokens=512,
                )
                record["usage"] = asdict(answer.usage)
                record["answers"] = parse(answer.text)
            except BudgetError:
                raise
            except CoalmError as error:
                record["error"] = str(error)
            journal.append(key, record)
            bar.update()

        async with client:
            await asyncio.gather(*(ask(key, cases[key]) for key in cases if key not in done))


def _cases(
    dialogues: Sequence[Dialogue], records: Mapping[str, RolloutRecord]
) -> dict[str, JudgeCase]:
    """Returns what to judge by its key. A dialogue that was run again is judged again."""
    cases: dict[str, JudgeCase] = {}
    for dialogue in dialogues:
        turns = said(records[dialogue.dialogue_id])
        for domain in dialogue.goals:
            key = f"{dialogue.dialogue_id}/{domain}/{digest(turns)}"
            cases[key] = JudgeCase(dialogue, domain, turns)
    return cases


def _answers(
    cases: Mapping[str, JudgeCase], records: Mapping[str, Json], model: str
) -> dict[str, dict[str, Answers]]:
    errors = [record["error"] for key in cases if (record := records[key])["error"]]
    if cases and len(errors) == len(cases):
        raise CoalmError(f"the judge {model} answered no question: {errors[0]}")
    answers: dict[str, dict[str, Answers]] = {}
    for key, case in cases.items():
        found = records[key]["answers"]
        if found is not None:
            answers.setdefault(case.dialogue.dialogue_id, {})[case.domain] = found
    return answers
