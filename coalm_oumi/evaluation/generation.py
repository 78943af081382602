"""Puts held-out samples to a model, through whichever inference engine Oumi built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oumi.core.types.conversation import Conversation, Message, Role

from coalm_oumi.datasets.tokens import user_message
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, write_jsonl
from coalm_oumi.mixture.select import select
from coalm_oumi.mixture.store import read_samples, split_files
from coalm_oumi.sample import Domain, Sample

if TYPE_CHECKING:
    from oumi.core.inference import BaseInferenceEngine


@dataclass(frozen=True, slots=True)
class Answer:
    """A sample and what the model wrote for it."""

    sample: Sample
    response: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Which held-out samples a task asks, as `eval_kwargs.data` of a recipe says it.

    Oumi takes every parameter of an evaluation function as required, so the optional ones are
    fields here.

    Attributes:
        dataset_path: The mixture.
        sources: Only these sources; None for all.
        validation_fraction: As in training, where the data has no validation split of its own.
        seed: As in training.
        name: What to call the task's result, where one evaluation asks several mixtures.
    """

    dataset_path: str
    sources: Sequence[str] | None = None
    validation_fraction: float = 0.0
    seed: int = 0
    name: str | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "HeldOut":
        """Reads the recipe's mapping.

        Raises:
            CoalmError: An option is unknown, or `dataset_path` is missing.
        """
        if not isinstance(options, Mapping):
            raise CoalmError(f"eval_kwargs.data: expected a mapping, found {options!r}")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown or "dataset_path" not in options:
            raise CoalmError(
                f"eval_kwargs.data: expected dataset_path and some of {', '.join(known[1:])}; "
                f"found {', '.join(sorted(options)) or 'nothing'}"
            )
        return cls(**options)

    def label(self, task: str) -> str:
        """Names a task on these samples, so that one evaluation can hold several."""
        name = self.name or "+".join(self.sources or [])
        return f"{task}/{name}" if name else task

    def samples(self, domain: Domain) -> list[Sample]:
        """Reads the validation samples of one domain.

        Raises:
            CoalmError: No such data, or no such sample in it.
        """
        files, is_split = split_files(Path(self.dataset_path), "validation")
        table = select(
            read_samples(files),
            place=self.dataset_path,
            split=None if is_split else "validation",
            domains=[domain],
            sources=self.sources,
            weights={},
            validation_fraction=self.validation_fraction,
            seed=self.seed,
        )
        return [
            Sample.from_record(dict(row), where=f"{self.dataset_path}, {domain} record {index}")
            for index, row in enumerate(table)
        ]


def ask(engine: "BaseInferenceEngine", samples: Sequence[Sample]) -> list[Answer]:
    """Generates one answer a sample.

    Raises:
        CoalmError: The engine answered fewer than it was asked.
    """
    conversations = [
        Conversation(
            conversation_id=str(index),
            messages=[
                Message(role=Role.USER, content=user_message(sample.instruction, sample.input))
            ],
        )
        for index, sample in enumerate(samples)
    ]
    answered = {
        conversation.conversation_id: conversation for conversation in engine.infer(conversations)
    }
    answers = []
    for index, sample in enumerate(samples):
        conversation = answered.get(str(index))
        if conversation is None or conversation.messages[-1].role != Role.ASSISTANT:
            raise CoalmError(f"the inference engine gave no answer to sample {index}")
        answers.append(Answer(sample, str(conversation.messages[-1].content)))
    return answers


def write_answers(
    file: Path, answers: Sequence[Answer], verdicts: Sequence[bool], reasons: Sequence[str | None]
) -> None:
    """Writes every answer with its verdict, as JSON Lines, for people to look at."""
    records: list[Json] = [
        {
            "dialogue_id": answer.sample.dialogue_id,
            "source": answer.sample.source,
            "input": answer.sample.input,
            "target": answer.sample.output,
            "response": answer.response,
            "correct": verdict,
            "unreadable": reason,
        }
        for answer, verdict, reason in zip(answers, verdicts, reasons, strict=True)
    ]
    write_jsonl(file, records)
