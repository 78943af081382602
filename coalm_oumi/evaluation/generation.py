"""Puts held-out samples to a model, through whichever inference engine Oumi built."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oumi.core.inference import BaseInferenceEngine
from oumi.core.types.conversation import Conversation, Message, Role

from coalm_oumi.datasets.tokens import user_message
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, write_jsonl
from coalm_oumi.mixture.select import select
from coalm_oumi.mixture.store import read_samples, split_files
from coalm_oumi.sample import Sample


@dataclass(frozen=True, slots=True)
class Answer:
    """A sample and what the model wrote for it."""

    sample: Sample
    response: str


def held_out(
    dataset_path: str,
    *,
    domain: str,
    sources: Sequence[str] | None,
    validation_fraction: float,
    seed: int,
    limit: int | None,
) -> list[Sample]:
    """Reads the validation samples of one domain from a mixture.

    Raises:
        CoalmError: No such data, or no such sample in it.
    """
    path = Path(dataset_path)
    files, is_split = split_files(path, "validation")
    table = select(
        read_samples(files),
        place=dataset_path,
        split=None if is_split else "validation",
        domains=[domain],
        sources=sources,
        weights={},
        validation_fraction=validation_fraction,
        seed=seed,
    )
    rows = list(table)[:limit]
    return [
        Sample.from_record(row, where=f"{dataset_path}, {domain} record {index}")
        for index, row in enumerate(rows)
    ]


def ask(engine: BaseInferenceEngine, samples: Sequence[Sample]) -> list[Answer]:
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
        last = answered[str(index)].messages[-1]
        if last.role != Role.ASSISTANT:
            raise CoalmError(f"the inference engine gave no answer to sample {index}")
        answers.append(Answer(sample, str(last.content)))
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
