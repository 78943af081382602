"""Asks a language model about the reasoning in CRA dialogues, through Oumi's judge (Appendix D)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from coalm_oumi.core.digest import digest_of_text
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.wording import one_line
from coalm_oumi.files.config import check_file
from coalm_oumi.files.journal import Journal
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.judges.base_judge import JudgeOutput
    from oumi.judges.simple_judge import SimpleJudge

CHUNK = 32
"""Dialogues judged at a time, and so the most verdicts that are paid for but not yet recorded."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's verdict on one dialogue.

    Attributes:
        is_faulty: Whether it found a fault; None if its answer cannot be read.
        explanation: The reason, or the whole answer if it cannot be read.
    """

    is_faulty: bool | None
    explanation: str


def question(dialogue: str, functions: Sequence[Function]) -> str:
    """Renders the judge's prompt for one transcript."""
    return prompts.render("cra_judge", dialogue=dialogue, functions=functions)


def judge(questions: Mapping[str, str], recipe: Path, journal: Path) -> Mapping[str, Judgement]:
    """Asks the judge about the dialogues that have no verdict yet.

    Args:
        questions: The judge's prompt for each dialogue, by its id.
        recipe: Oumi's judge configuration, with `{request}` in its template.
        journal: The file of verdicts, so that none is paid for twice.

    Returns:
        The judgements by id, without those that the judge did not answer.

    Raises:
        CoalmError: The recipe is not a judge's, the journal is another judge's, or the judge is
            gone.
    """
    from oumi.core.configs import JudgeConfig  # takes seconds, and not every validation asks
    from oumi.core.configs.params.judge_params import JudgeOutputType
    from oumi.exceptions import OumiConfigError
    from oumi.judges.simple_judge import SimpleJudge

    check_file(recipe)
    try:
        config = JudgeConfig.from_path(str(recipe))
    except OumiConfigError as error:
        reason = one_line(error.__cause__ or error)
        raise CoalmError(f"{recipe}: Oumi reads no judge from it: {reason}") from error
    params, inference = config.judge_params, config.inference_config
    if inference is None or params.get_placeholders() != {"request"}:
        raise CoalmError(
            f"{recipe}: expected an inference_config, and {{request}} as the only placeholder of "
            "prompt_template"
        )
    if params.judgment_type is not JudgeOutputType.BOOL:
        raise CoalmError(f"{recipe}: judge_params.judgment_type: expected BOOL, true for no fault")
    made_by = {
        "command": "coalm cra validate",
        "model": inference.model.model_name,
        "template": params.prompt_template,
        "system": params.system_instruction,
    }
    keys = {name: f"{name}-{digest_of_text(text)}" for name, text in questions.items()}
    with Journal(journal, made_by=made_by) as verdicts:
        todo = {key: questions[name] for name, key in keys.items() if key not in verdicts}
        if todo:
            _ask(SimpleJudge(config), todo, verdicts, recipe)
        return {
            name: Judgement(**verdicts.records[key])
            for name, key in keys.items()
            if key in verdicts
        }


def _ask(judge_: "SimpleJudge", todo: Mapping[str, str], verdicts: Journal, recipe: Path) -> None:
    """Asks the questions by key, and records each answer."""
    keys = list(todo)
    with tqdm(total=len(todo), desc="judged", unit="") as bar:
        for start in range(0, len(todo), CHUNK):
            chunk = keys[start : start + CHUNK]
            answers = judge_.judge_partial([{"request": todo[key]} for key in chunk])
            for index, output in answers.successful:
                verdicts.append(chunk[index], _record(output))
            if not answers.successful:
                reason = next(iter(answers.error_messages.values()), "no answer")
                raise CoalmError(
                    f"{recipe}: the judge gives no answer: {one_line(reason)}; the answers "
                    f"so far are in {verdicts.path}: run the command again to resume"
                )
            bar.update(len(answers.successful))


def _record(output: "JudgeOutput") -> Json:
    values = output.field_values
    judgment = values.get("judgment")
    if not isinstance(judgment, bool):
        return {"is_faulty": None, "explanation": output.raw_output}
    return {"is_faulty": not judgment, "explanation": str(values.get("explanation") or "")}
