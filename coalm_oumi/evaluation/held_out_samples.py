"""The held-out samples of a mixture as questions to a model."""
# pyright: standard

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Message, Role
from pydantic import Field

from coalm_oumi.core.options import HeldOutShare, Seed, Text
from coalm_oumi.core.sample import Domain, Sample
from coalm_oumi.data.mixture.select import Selection, select
from coalm_oumi.data.mixture.store import read_samples, split_files
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.failures import Failure
from coalm_oumi.evaluation.options import TaskOptions
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.llm.recorded import Question, RecordedModel
from coalm_oumi.rendering import prompts

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine


class HeldOut(TaskOptions):
    """The held-out samples of a task, from `eval_kwargs.data` of a recipe.

    Attributes:
        dataset_path: The mixture, or your own records.
        domains: Only these domains; None for those that the task scores.
        sources: Only these sources; None for all.
        validation_fraction: The training's value, if the data has no validation split.
        seed: The training's value.
        name: The name of the task's result, if one evaluation asks several mixtures.
    """

    dataset_path: Text
    domains: Sequence[Domain] | None = Field(default=None, min_length=1)
    sources: Sequence[Text] | None = Field(default=None, min_length=1)
    validation_fraction: HeldOutShare = 0.0
    seed: Seed = 0
    name: Text | None = None

    def label(self, task: str) -> str:
        """Names a task on these samples, so that one evaluation can hold several."""
        name = self.name or "+".join([*(self.domains or []), *(self.sources or [])])
        return f"{task}/{name}" if name else task

    def samples(self, domains: Sequence[Domain] | None) -> list[Sample]:
        """Reads the validation samples.

        Args:
            domains: The domains that the task scores, where the recipe names none; None for all.

        Raises:
            CoalmError: No such data, or no such sample in it.
        """
        files, is_split = split_files(Path(self.dataset_path), "validation")
        selection = Selection(
            domains=self.domains or domains,
            sources=self.sources,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
        )
        split = None if is_split else "validation"
        table = select(read_samples(files), selection, place=self.dataset_path, split=split)
        samples: list[Sample] = []
        for index, row in enumerate(table):
            record = {**_OWN, "dialogue_id": str(index), **dict(row)}
            where = f"{self.dataset_path}, held-out record {index}"
            samples.append(Sample.from_record(record, where=where))
        return samples


_OWN = {"source": "own", "domain": "tod"}
"""The columns of your own records if they have only three."""


def ask(
    engine: "BaseInferenceEngine", config: "EvaluationConfig", name: str, samples: Sequence[Sample]
) -> list[str]:
    """Generates one answer per sample, and records it under the name of the task.

    Raises:
        CoalmError: The engine failed at some. The other answers are kept.
    """
    questions: list[Question] = []
    for index, sample in enumerate(samples):
        content = prompts.render("alpaca", instruction=sample.instruction, input=sample.input)
        message = Message(role=Role.USER, content=content)
        questions.append(Question(f"{index}/{sample.dialogue_id}", [message]))
    with RecordedModel(engine, config, name) as model:
        return model.ask(questions)


def record(
    sample: Sample,
    response: str,
    *,
    correct: bool,
    unreadable: str | None,
    parsed: Sequence[FunctionCall] | None = None,
    failure: Failure | None = None,
    parts: results.Parts | None = None,
) -> results.AnswerRecord:
    """Returns the record of an answer to a sample of a mixture."""
    found: results.AnswerRecord = {
        "dialogue_id": sample.dialogue_id,
        "source": sample.source,
        "offered": sample.instruction,
        "input": sample.input,
        "target": sample.output,
        "response": response,
        "correct": correct,
        "unreadable": unreadable,
    }
    if parts is not None:
        found["parts"] = {name: list(part) for name, part in parts.items()}
    if parsed is not None:
        found["parsed"] = results.as_json(parsed)
    if failure is not None:
        found["failure"] = failure.value
    return found
