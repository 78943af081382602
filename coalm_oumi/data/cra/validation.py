"""Validates generated dialogues and counts faulty ones, in the dimensions of Appendix D."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.data.cra import sgd, transcript
from coalm_oumi.data.cra.judge import Judgement
from coalm_oumi.data.cra.rates import Agreement, Rate
from coalm_oumi.data.cra.validate import DIMENSIONS, Catalogue, CraFinding, Dimension, validate
from coalm_oumi.files.jsontext import read_jsonl, write_json, write_jsonl
from coalm_oumi.rendering import terminal

PAPER_ERROR_RATE = 0.09
"""Of 100 dialogues, by one student (Appendix D)."""

LABELS: Mapping[str, str] = {**DIMENSIONS, "any": "Any of them"}
"""The labels of the rates."""

VALIDATION = "validation.jsonl"
SUMMARY = "summary.json"
VALID = "valid.jsonl"


@dataclass(frozen=True, slots=True)
class CraCase:
    """A transcript and the functions to check it against.

    Attributes:
        dialogue_id: SGD's.
        text: The transcript.
        catalogue: The functions that it may call.
    """

    dialogue_id: str
    text: str
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class CraVerdict:
    """The verdict on one dialogue.

    Attributes:
        dialogue_id: SGD's.
        findings: The automatic findings.
        judgement: The judge's; None if none was asked, or it did not answer.
    """

    dialogue_id: str
    findings: Sequence[CraFinding]
    judgement: Judgement | None = None

    @property
    def faults(self) -> Mapping[Dimension, bool | None]:
        """Whether there is a fault, by dimension; None if unknown."""
        found = {finding.dimension for finding in self.findings}
        faults: dict[Dimension, bool | None] = {name: name in found for name in DIMENSIONS}
        faults["reasoning"] = self.judgement.is_faulty if self.judgement else None
        return faults

    @property
    def is_faulty(self) -> bool:
        """Whether any fault is known."""
        return any(self.faults.values())


def read_cases(transcripts: Path, folder: Path, scope: str) -> list[CraCase]:
    """Reads transcripts with the schema of the dialogues that they were made from.

    Args:
        transcripts: JSON Lines of `{dialogue_id, text}`.
        folder: SGD's split.
        scope: Which functions may be called: `all`, or `dialogue` for its own services'.

    Raises:
        CoalmError: A file is missing or bad, or a dialogue is not of that split.
    """
    allowed = sgd.check_scope(scope)
    services = sgd.read_services(folder)
    used: dict[str, Sequence[str]] = {}
    for _, record in sgd.records(folder):
        try:
            name, its = sgd.identify(record, services)
        except CoalmError:
            continue  # no transcript can be made of it
        used[name] = its
    cases: list[CraCase] = []
    for name, text in transcript.read(transcripts).items():
        if name not in used:
            raise CoalmError(f"{transcripts}: {name}: no dialogue of this id is in {folder}")
        cases.append(CraCase(name, text, sgd.catalogue(services, used[name], allowed)))
    if not cases:
        raise CoalmError(f"{transcripts}: holds no transcript")
    return cases


def check(cases: Iterable[CraCase], judgements: Mapping[str, Judgement]) -> list[CraVerdict]:
    """Validates every case.

    Args:
        cases: The transcripts.
        judgements: The judge's verdicts by dialogue; may be empty.
    """
    verdicts: list[CraVerdict] = []
    for case in cases:
        findings = validate(case.text, case.catalogue)
        verdicts.append(CraVerdict(case.dialogue_id, findings, judgements.get(case.dialogue_id)))
    return verdicts


def rates(faults: Iterable[Mapping[Dimension, bool | None]]) -> Mapping[str, Rate]:
    """Counts the faulty dialogues, by dimension and in any (`any`).

    A dimension of which nothing is known for any dialogue has no rate.
    """
    rows = list(faults)
    counted: dict[str, Rate] = {}
    for name in DIMENSIONS:
        known = [row[name] for row in rows if row.get(name) is not None]
        if known:
            counted[name] = Rate(sum(map(bool, known)), len(known))
    counted["any"] = Rate(sum(any(row.values()) for row in rows), len(rows))
    return counted


def read_reviews(file: Path) -> Mapping[str, Mapping[Dimension, bool | None]]:
    """Reads the reviews that `coalm cra review` exports: faults by dialogue.

    Raises:
        CoalmError: No such file, or a line is something else.
    """
    reviews: dict[str, Mapping[Dimension, bool | None]] = {}
    for number, record in read_jsonl(file):
        try:
            scores = record["scores"]
            reviews[record["dialogue_id"]] = {
                name: scores[name] == 0 for name in DIMENSIONS if name in scores
            }
        except (KeyError, TypeError) as error:
            raise CoalmError(
                f"{file}:{number}: expected dialogue_id and scores, as `coalm cra review` exports"
            ) from error
    return reviews


def agreement(
    verdicts: Iterable[CraVerdict], reviews: Mapping[str, Mapping[Dimension, bool | None]]
) -> Mapping[Dimension, Agreement]:
    """Compares these verdicts with those of people, by dimension."""
    pairs: dict[Dimension, list[tuple[bool, bool]]] = {}
    for verdict in verdicts:
        people = reviews.get(verdict.dialogue_id, {})
        for name, ours in verdict.faults.items():
            theirs = people.get(name)
            if ours is not None and theirs is not None:
                pairs.setdefault(name, []).append((ours, theirs))
    return {
        name: Agreement.of([ours for ours, _ in both], [theirs for _, theirs in both])
        for name, both in pairs.items()
    }


def rates_table(found: Mapping[str, Rate]) -> Table:
    """Makes a terminal table of error rates, with the paper's in the last row."""
    made = terminal.table("dialogues with", "count", "rate", "95% interval")
    for name, rate in found.items():
        low, high = rate.interval()
        count = f"{rate.count}/{rate.total}"
        made.add_row(LABELS[name], count, f"{rate.value:.1%}", f"{low:.1%} to {high:.1%}")
    made.add_row("The paper, by a person", "9/100", f"{PAPER_ERROR_RATE:.1%}", "")
    return made


def agreement_table(agreements: Mapping[Dimension, Agreement]) -> Table:
    """Makes a terminal table of the agreement between checks and people."""
    made = terminal.table(
        "agreement with people", "dialogues", "same", "kappa", "precision", "recall"
    )
    for name, both in agreements.items():
        made.add_row(
            LABELS[name],
            str(both.total),
            f"{both.accuracy:.1%}",
            _number(both.kappa),
            _number(both.precision),
            _number(both.recall),
        )
    return made


def write(
    folder: Path,
    cases: Sequence[CraCase],
    verdicts: Sequence[CraVerdict],
    agreements: Mapping[Dimension, Agreement],
) -> None:
    """Writes each verdict with its findings, the rates, and the transcripts without a fault."""
    texts = {case.dialogue_id: case.text for case in cases}
    write_jsonl(
        folder / VALIDATION, [_record(verdict, texts[verdict.dialogue_id]) for verdict in verdicts]
    )
    write_jsonl(
        folder / VALID,
        [
            {"dialogue_id": verdict.dialogue_id, "text": texts[verdict.dialogue_id]}
            for verdict in verdicts
            if not verdict.is_faulty
        ],
    )
    write_json(
        folder / SUMMARY,
        {
            "rates": {
                name: {"count": rate.count, "total": rate.total, "interval": rate.interval()}
                for name, rate in rates(verdict.faults for verdict in verdicts).items()
            },
            "paper": PAPER_ERROR_RATE,
            "agreement": {
                name: asdict(both) | {"accuracy": both.accuracy, "kappa": both.kappa}
                for name, both in agreements.items()
            },
        },
    )


def _record(verdict: CraVerdict, text: str) -> Json:
    return {
        "dialogue_id": verdict.dialogue_id,
        "faults": verdict.faults,
        "findings": [
            asdict(finding)
            | {"dimension": finding.dimension, "span": text[finding.start : finding.end]}
            for finding in verdict.findings
        ],
        "judge": verdict.judgement and verdict.judgement.explanation,
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
