"""Asks the language model that judges a run's dialogues, and keeps its answers in a journal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz import llm_judge
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.judge import Answers
from coalm_oumi.evaluation.multiwoz.lead import templates
from coalm_oumi.evaluation.multiwoz.llm_judge import JudgeCase
from coalm_oumi.evaluation.multiwoz.models import Account, account, endpoint, used
from coalm_oumi.evaluation.multiwoz.result import RolloutRecord, said
from coalm_oumi.files.journal import Journal
from coalm_oumi.rendering import prompts


def judge(
    dialogues: Sequence[Dialogue],
    records: Mapping[str, RolloutRecord],
    model: Mapping[str, Any],
    folder: Path,
) -> tuple[dict[str, dict[str, Answers]], Account]:
    """Asks about every domain of every dialogue that the journal holds no answer to.

    Args:
        dialogues: What was to be done.
        records: What was said and done, by dialogue.
        model: The judge, as the recipe gives it.
        folder: Where the journal is.

    Returns:
        Its answers by dialogue and domain, and its tokens and cost.

    Raises:
        CoalmError: The model answers nothing at all.
    """
    server, max_usd = endpoint(model, "judge")
    cases = _cases(dialogues, records)
    made_by = {"model": server.model, "prompts": prompts.fingerprint(*templates())}
    with Journal(folder / "judgements.jsonl", made_by=made_by) as journal:
        done = {key for key, record in journal.records.items() if not record["error"]}
        open_cases = {key: case for key, case in cases.items() if key not in done}
        keys = {id(case): key for key, case in open_cases.items()}
        with tqdm(total=len(cases), initial=len(cases) - len(keys), desc="judge") as bar:

            def answered(case: JudgeCase, answers: Mapping[str, str] | str, usage: Usage) -> None:
                error = answers if isinstance(answers, str) else ""
                found = None if error else answers
                record = {"answers": found, "error": error, "usage": asdict(usage)}
                journal.append(keys[id(case)], record)
                bar.update()

            before = used(record["usage"] for record in journal.records.values())
            llm_judge.ask(list(open_cases.values()), server, answered, max_usd=max_usd, used=before)
        after = used(record["usage"] for record in journal.records.values())
        return _answers(cases, journal.records, server.model), account(after, server)


def _cases(
    dialogues: Sequence[Dialogue], records: Mapping[str, RolloutRecord]
) -> dict[str, JudgeCase]:
    """Returns what to judge by its key. A dialogue that was led again is judged again."""
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
