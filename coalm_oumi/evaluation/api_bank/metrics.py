"""The verdict on one answer to API-Bank, and the metrics over all."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from oumi.core.types.conversation import Message

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import unfenced
from coalm_oumi.evaluation import results, similarity
from coalm_oumi.evaluation.api_bank import hammer
from coalm_oumi.evaluation.api_bank.data import ApiBankEntry
from coalm_oumi.evaluation.api_bank.hammer import Counts
from coalm_oumi.evaluation.failures import Failure, classify
from coalm_oumi.evaluation.similarity import Similarity
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import FunctionCall


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer against its reference.

    Attributes:
        similarity: As LLaMA-Factory computes it.
        word_similarity: The same of words.
        names: Hammer's counts of function names.
        arguments: Hammer's counts of arguments.
        parsed: The calls; None if none can be read.
        unreadable: Why not.
        failure: What is wrong; None for exactly the right calls.
    """

    similarity: Similarity
    word_similarity: Similarity
    names: Counts
    arguments: Counts
    parsed: Sequence[FunctionCall] | None
    unreadable: str | None
    failure: Failure | None


def judge(text: str, entry: ApiBankEntry) -> JudgedAnswer:
    """Compares an answer with the reference, written as Figure 5's list.

    A Markdown fence around the whole answer is not compared. Hammer's references have one and
    CoALM's targets have none, which should not change a score.
    """
    bare, reference = unfenced(text).strip(), calls.to_json(entry.expected)
    try:
        parsed, unreadable = calls.parse_json(text), None
    except CoalmError as error:
        parsed, unreadable = None, str(error)
    names, arguments = hammer.count(text, entry.expected)
    return JudgedAnswer(
        similarity=similarity.llama_factory(bare, reference),
        word_similarity=similarity.word_level(bare, reference),
        names=names,
        arguments=arguments,
        parsed=parsed,
        unreadable=unreadable,
        failure=classify(parsed, entry.expected),
    )


def metrics(judged: Sequence[JudgedAnswer]) -> dict[str, float]:
    """Returns the metrics over all answers, in [0, 1], where Table 3 prints percent."""
    found: dict[str, float] = {}
    similarities = {
        "": [one.similarity for one in judged],
        "word_": [one.word_similarity for one in judged],
    }
    for prefix, scores in similarities.items():
        for name in ("rouge_l", "rouge_1", "rouge_2", "bleu_4"):
            found[f"{prefix}{name}"] = fmean(getattr(score, name) for score in scores) / 100
    names = sum((one.names for one in judged), hammer.NOTHING)
    arguments = sum((one.arguments for one in judged), hammer.NOTHING)
    for part, counts in (("name", names), ("argument", arguments)):
        for name, score in zip(("precision", "recall", "f1"), counts.scores(), strict=True):
            found[f"{part}_{name}"] = score
    return found | {"ast_match": fmean(one.failure is None for one in judged)}


class ApiBankRecord(results.AnswerRecord):
    """The record of an answer, with its `Similarity`."""

    rouge_1: float
    rouge_2: float
    rouge_l: float
    bleu_4: float


def as_record(
    entry: ApiBankEntry, prompt: Sequence[Message], text: str, judged: JudgedAnswer
) -> ApiBankRecord:
    """Returns the record of an answer for readers."""
    return {
        "dialogue_id": entry.id,
        "source": "api_bank",
        "offered": results.as_signatures(entry.tools),
        "input": "\n".join(f"{m['role']}: {m['content']}" for m in entry.messages),
        "target": calls.to_json(entry.expected),
        "prompt": [m.model_dump(mode="json", exclude_none=True) for m in prompt],
        "response": text,
        "parsed": None if judged.parsed is None else results.as_json(judged.parsed),
        "correct": judged.failure is None,
        "failure": judged.failure and judged.failure.value,
        "unreadable": judged.unreadable,
        "rouge_1": judged.similarity.rouge_1,
        "rouge_2": judged.similarity.rouge_2,
        "rouge_l": judged.similarity.rouge_l,
        "bleu_4": judged.similarity.bleu_4,
    }
