"""Runs the dialogues of an evaluation, and records each, so that a killed run resumes."""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from coalm_oumi.core.digest import digest
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation.multiwoz.agent import FORMATS
from coalm_oumi.evaluation.multiwoz.data import Dialogue
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.models import Account, account, used
from coalm_oumi.evaluation.multiwoz.options import MultiwozOptions
from coalm_oumi.evaluation.multiwoz.result import RolloutRecord, read_record, to_record
from coalm_oumi.evaluation.multiwoz.rollout import Asking, roll_out
from coalm_oumi.evaluation.multiwoz.user import SimulatedUser
from coalm_oumi.files.journal import Journal
from coalm_oumi.llm.chat import Endpoint
from coalm_oumi.llm.recorded import RecordedModel
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine


def templates() -> list[str]:
    """Returns the names of the prompt templates that the task renders."""
    rendered = ("multiwoz_", "agent_")
    return [name for name in prompts.names() if name == "alpaca" or name.startswith(rendered)]


def lead(
    dialogues: Sequence[Dialogue],
    database: Database,
    engine: "BaseInferenceEngine",
    options: MultiwozOptions,
    config: "EvaluationConfig",
    folder: Path,
) -> tuple[dict[str, RolloutRecord], dict[str, Account]]:
    """Runs the dialogues that the journal lacks.

    Args:
        dialogues: All dialogues of the run.
        database: The databases that they share.
        engine: Oumi's, with the agent's model.
        options: The recipe's.
        config: Oumi's.
        folder: The folder of the journal.

    Returns:
        The records of all dialogues by their name, and the tokens and cost of agent and user.

    Raises:
        CoalmError: A model answers nothing at all.
    """
    names = {dialogue.dialogue_id for dialogue in dialogues}
    with (
        RecordedModel(engine, config, folder.name) as model,
        _journal(folder, "dialogues", _depends_on(options, model)) as journal,
        _simulated_user(options, folder) as simulated,
    ):
        done = {key for key, record in journal.records.items() if not record["error"]}
        rollouts = roll_out(
            [dialogue for dialogue in dialogues if dialogue.dialogue_id not in done],
            database=database,
            asking=Asking(FORMATS[options.format], options.max_steps, options.history),
            model=model,
            user=simulated,
            concurrency=options.concurrency,
        )
        with tqdm(total=len(dialogues), initial=len(done & names), desc=options.label) as bar:
            for rollout in rollouts:
                name = rollout.dialogue.dialogue_id
                user_usage = simulated.used_in[name] if simulated else Usage()
                journal.append(name, to_record(rollout, user_usage))
                bar.update()
        records = {name: read_record(journal.records[name], name) for name in names}
    return records, _spent(records, options, config, simulated)


def _journal(folder: Path, name: str, depends_on: dict[str, Json]) -> Journal:
    return Journal(folder / f"{name}.{digest(depends_on)}.jsonl", made_by=depends_on)


def _depends_on(options: MultiwozOptions, model: RecordedModel) -> dict[str, Json]:
    """Returns what a dialogue depends on. If any of it changes, dialogues are run again."""
    return {
        **model.made_by,
        "version": options.version,
        "split": options.split,
        "path": options.path,
        "database": options.database,
        "format": options.format,
        "history": options.history,
        "user": options.user and options.user.model,
        "max_steps": options.max_steps,
        "max_turns": options.max_turns if options.user else None,
        "prompts": prompts.fingerprint(*templates()),
    }


@contextlib.contextmanager
def _simulated_user(options: MultiwozOptions, folder: Path) -> Generator[SimulatedUser | None]:
    if not options.user:
        yield None
        return
    depends_on = {"model": options.user.model, "prompts": prompts.fingerprint("multiwoz_user")}
    with _journal(folder, "user", depends_on) as journal:
        yield SimulatedUser(options.user, options.max_turns, journal)


def _spent(
    records: Mapping[str, RolloutRecord],
    options: MultiwozOptions,
    config: "EvaluationConfig",
    simulated: SimulatedUser | None,
) -> dict[str, Account]:
    priced = Endpoint(
        model=config.model.model_name,
        usd_per_million_input=options.usd_per_million_input,
        usd_per_million_output=options.usd_per_million_output,
    )
    by_agent = used(record["usage"]["agent"] for record in records.values())
    spent = {"agent": account(by_agent, priced)}
    if simulated:
        by_user = used(record["usage"]["user"] for record in records.values())
        spent["user"] = account(by_user, simulated.endpoint)
    return spent
