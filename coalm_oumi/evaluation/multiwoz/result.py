"""Puts a finished dialogue's record together, judges it, and counts over all dialogues."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from coalm_oumi.agent.turns import AgentTurn, Step
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.core.options import first_problem
from coalm_oumi.core.usage import Usage
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.failures import Failure
from coalm_oumi.evaluation.multiwoz import judge, reader
from coalm_oumi.evaluation.multiwoz.context_to_response import SystemTurn, inform_success
from coalm_oumi.evaluation.multiwoz.data import Dialogue, State
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.judge import (
    METRICS,
    Answers,
    DialogueRecords,
    MultiwozVerdict,
    overall,
)
from coalm_oumi.evaluation.multiwoz.rollout import Rollout
from coalm_oumi.evaluation.multiwoz.state import score, track
from coalm_oumi.evaluation.multiwoz.values import DOMAINS
from coalm_oumi.evaluation.multiwoz.world import Booking
from coalm_oumi.formats.calls import FunctionCall


class StepCallRecord(TypedDict):
    """A call that was carried out."""

    name: str
    arguments: dict[str, Json]


class StepRecord(TypedDict):
    """An answer of the model, and what its call returned."""

    response: str
    thought: str
    call: StepCallRecord | None
    unreadable: bool
    cut: bool
    observation: str


class TurnRecord(TypedDict):
    """A turn, with the belief state after it."""

    user: str
    steps: list[StepRecord]
    reply: str
    state: dict[str, str]


class BookingRecord(TypedDict):
    """The fields of `Booking`."""

    reference: str
    domain: str
    record: dict[str, str]


class RolloutRecord(TypedDict):
    """A dialogue that ran, as the journal holds it. `usage` is of `agent` and `user`."""

    error: str
    turns: list[TurnRecord]
    bookings: list[BookingRecord]
    usage: dict[str, dict[str, int]]


_RECORD = TypeAdapter(RolloutRecord)


@dataclass(frozen=True, slots=True)
class JudgedDialogue:
    """A dialogue with its verdicts.

    Attributes:
        dialogue: The goal and the reference dialogue.
        record: What was said and done.
        answers: What the deterministic judge read, by domain.
        verdicts: What follows from that, by domain.
        llm_answers: What the language model read; None if none was asked.
        llm_verdicts: What follows from that; domains that it could not answer are left out.
        inform_success: The context-to-response metrics, by their suffix: `c2r` counts a reference
            number that the agent's booking returned, `c2r_official` as the official evaluator does.
    """

    dialogue: Dialogue
    record: RolloutRecord
    answers: Mapping[str, Answers]
    verdicts: Mapping[str, MultiwozVerdict]
    llm_answers: Mapping[str, Answers] | None
    llm_verdicts: Mapping[str, MultiwozVerdict] | None
    inform_success: Mapping[str, tuple[bool, bool]]


def to_record(rollout: Rollout, user_usage: Usage) -> RolloutRecord:
    """Writes a dialogue for the journal, with the belief state after each turn.

    Args:
        rollout: The dialogue.
        user_usage: The tokens of a simulated user.
    """
    turns: list[TurnRecord] = []
    state: dict[str, str] = {}
    for turn in rollout.turns:
        state = track(_calls(turn), state)
        steps = [_step(step) for step in turn.steps]
        turns.append({"user": turn.user, "steps": steps, "reply": turn.reply, "state": state})
    return {
        "error": rollout.error,
        "turns": turns,
        "bookings": [
            {"reference": made.reference, "domain": made.domain, "record": dict(made.record)}
            for made in rollout.bookings
        ],
        "usage": {"agent": asdict(rollout.usage), "user": asdict(user_usage)},
    }


def _step(step: Step) -> StepRecord:
    call = step.decision.call if step.decision else None
    return {
        "response": step.response,
        "thought": step.decision.thought if step.decision else "",
        "call": {"name": call.name, "arguments": dict(call.arguments)} if call else None,
        "unreadable": step.decision is None,
        "cut": step.is_cut,
        "observation": step.observation,
    }


def read_record(record: Json, name: str) -> RolloutRecord:
    """Reads a dialogue of the journal.

    Raises:
        CoalmError: It is something else.
    """
    try:
        return _RECORD.validate_python(record, strict=True)
    except ValidationError as error:
        raise CoalmError(
            f"the journal's record of {name} is damaged: {first_problem(error)}; delete its line"
        ) from error


def _calls(turn: AgentTurn) -> list[FunctionCall]:
    return [step.decision.call for step in turn.steps if step.decision and step.decision.call]


def said(record: RolloutRecord) -> list[tuple[str, str]]:
    """Returns what user and agent said in each turn of a record."""
    return [(turn["user"], turn["reply"]) for turn in record["turns"]]


def judge_record(
    dialogue: Dialogue,
    record: RolloutRecord,
    database: Database,
    llm_answers: Mapping[str, Answers] | None = None,
) -> JudgedDialogue:
    """Judges a dialogue that was recorded.

    Args:
        dialogue: The goal and the reference dialogue.
        record: What was said and done.
        database: The public databases.
        llm_answers: What a language model read, by domain; None if none was asked.
    """
    bookings = [Booking(**booking) for booking in record["bookings"]]
    records = DialogueRecords(database, bookings)
    transcript = reader.Transcript(said(record), bookings)
    answers = {
        domain: reader.answers(domain, goal, transcript, database)
        for domain, goal in dialogue.goals.items()
    }

    def check(found: Mapping[str, Answers]) -> dict[str, MultiwozVerdict]:
        return {d: judge.check(d, dialogue.goals[d], a, records) for d, a in found.items()}

    return JudgedDialogue(
        dialogue=dialogue,
        record=record,
        answers=answers,
        verdicts=check(answers),
        llm_answers=llm_answers,
        llm_verdicts=None if llm_answers is None else check(llm_answers),
        inform_success=_context_to_response(dialogue, record, bookings, database),
    )


def _context_to_response(
    dialogue: Dialogue, record: RolloutRecord, bookings: Sequence[Booking], database: Database
) -> dict[str, tuple[bool, bool]]:
    """Returns Inform and Success in both readings of a reference number."""
    turns: list[SystemTurn] = []
    for turn in record["turns"]:
        reply = turn["reply"].upper()
        told = frozenset(booking.domain for booking in bookings if booking.reference in reply)
        turns.append(SystemTurn(turn["reply"], turn["state"], told))
    # The official evaluator compares turn by turn, up to the end of the shorter dialogue.
    official = [
        replace(turn, booked=turn.booked & reference.booked)
        for turn, reference in zip(turns, dialogue.turns, strict=False)
    ]
    return {
        "c2r": inform_success(dialogue.goals, turns, database),
        "c2r_official": inform_success(dialogue.goals, official, database),
    }


def summarise(judged: Sequence[JudgedDialogue], *, with_states: bool) -> dict[str, float]:
    """Counts over all dialogues. Those that broke off count as what they reached until then.

    Args:
        judged: The dialogues, at least one.
        with_states: Whether they follow the reference dialogues, so that states can be compared,
            as far as the data has them.

    Returns:
        Shares in [0, 1]: `success`, `inform`, `book` over dialogues, the same over single domains
        (`domain_…`) and each domain (`hotel_success`), with `joint_goal_accuracy` and the like
        where states can be compared, `llm_…` and `agreement` where a language model judged, and
        `inform_c2r`, `success_c2r`, `inform_c2r_official`, `success_c2r_official`.
    """
    metrics: dict[str, float] = {}
    metrics |= _shares("", [entry.verdicts for entry in judged])
    by_llm = [entry.llm_verdicts for entry in judged if entry.llm_verdicts is not None]
    if any(by_llm):
        metrics |= _shares("llm_", by_llm)
        metrics["agreement"] = agreement(judged)
    if with_states:
        metrics |= _tracking(judged)
    for reading in ("c2r", "c2r_official"):
        for index, name in enumerate(("inform", "success")):
            right = sum(entry.inform_success[reading][index] for entry in judged)
            metrics[f"{name}_{reading}"] = right / len(judged)
    steps = [step for entry in judged for step in _steps(entry.record)]
    metrics["readable"] = 1 - sum(s["unreadable"] for s in steps) / len(steps) if steps else 0.0
    metrics["cut"] = sum(s["cut"] for s in steps) / len(steps) if steps else 0.0
    metrics["finished"] = sum(not entry.record["error"] for entry in judged) / len(judged)
    return metrics


class VerdictRecord(results.AnswerRecord):
    """The record of a dialogue, with its metrics; None if the goal asks for nothing of them."""

    inform: bool | None
    success: bool | None
    book: bool | None
    success_c2r_official: bool


def verdict_record(judged: JudgedDialogue) -> VerdictRecord:
    """Writes a dialogue's verdict: what the metrics over all dialogues are shares of.

    And the dialogue itself beside the reference, for `coalm errors`.
    """
    pairs = _states(judged)
    turns_right = round(score(pairs).joint_goal_accuracy * len(pairs)) if pairs else 0
    failed, verdict = failure(judged), overall(judged.verdicts)
    missed: list[str] = []
    for domain, of_domain in judged.verdicts.items():
        wrong = [metric for metric in METRICS if getattr(of_domain, metric) is False]
        missed += [f"{domain}: {metric}" for metric in wrong]
    return {
        "dialogue_id": judged.dialogue.dialogue_id,
        "inform": verdict.inform,
        "success": verdict.success,
        "book": verdict.book,
        "success_c2r_official": judged.inform_success["c2r_official"][1],
        "turns": len(pairs),
        "turns_right": turns_right,
        "source": " ".join(judged.dialogue.goals),
        "input": " ".join(judged.dialogue.message),
        "target": "\n".join(f"User: {t.user}\nAgent: {t.system}" for t in judged.dialogue.turns),
        "response": _transcript(judged.record),
        "correct": failed is None,
        "failure": failed and failed.value,
        "reason": judged.record["error"] or ", ".join(missed),
        "unreadable": None,
    }


def failure(judged: JudgedDialogue) -> Failure | None:
    """Names the first thing that is wrong with a dialogue, by the deterministic judge."""
    verdict = overall(judged.verdicts)
    steps = _steps(judged.record)
    found = (
        (judged.record["error"], Failure.BROKEN_OFF),
        (steps and all(step["unreadable"] for step in steps), Failure.FORMAT),
        (verdict.inform is False, Failure.WRONG_VENUE),
        (verdict.success is False, Failure.WRONG_ANSWER),
        (verdict.book is False, Failure.WRONG_BOOKING),
    )
    return next((kind for is_so, kind in found if is_so), None)


def _steps(record: RolloutRecord) -> list[StepRecord]:
    return [step for turn in record["turns"] for step in turn["steps"]]


def _transcript(record: RolloutRecord) -> str:
    lines: list[str] = []
    for turn in record["turns"]:
        lines.append(f"User: {turn['user']}")
        lines += [f"  {dumps(step['call'])}" for step in turn["steps"] if step["call"]]
        lines.append(f"Agent: {turn['reply']}")
    return "\n".join(lines)


def _states(judged: JudgedDialogue) -> list[tuple[dict[str, str], State]]:
    """Pairs states over every turn of the reference. A turn never reached has the last state."""
    pairs: list[tuple[dict[str, str], State]] = []
    state: dict[str, str] = {}
    for index, turn in enumerate(judged.dialogue.turns):
        if index < len(judged.record["turns"]):
            state = judged.record["turns"][index]["state"]
        if turn.state is not None:
            pairs.append((state, turn.state))
    return pairs


def _tracking(judged: Sequence[JudgedDialogue]) -> dict[str, float]:
    pairs = [pair for entry in judged for pair in _states(entry)]
    if not pairs:
        return {}
    metrics = asdict(score(pairs))
    for domain, share in metrics.pop("by_domain").items():
        metrics[f"{domain}_joint_goal_accuracy"] = share
    return metrics


def _shares(prefix: str, verdicts: Sequence[Mapping[str, MultiwozVerdict]]) -> dict[str, float]:
    hits: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for by_domain in verdicts:
        named = [("", overall(by_domain))]
        named += [("domain_", verdict) for verdict in by_domain.values()]
        named += [(f"{domain}_", verdict) for domain, verdict in by_domain.items()]
        for level, verdict in named:
            for metric in METRICS:
                value = getattr(verdict, metric)
                if value is not None:
                    hits[f"{level}{metric}"] += value
                    totals[f"{level}{metric}"] += 1
    levels = ["", "domain_", *(f"{domain}_" for domain in DOMAINS)]
    names = [f"{level}{metric}" for level in levels for metric in METRICS]
    return {f"{prefix}{name}": hits[name] / totals[name] for name in names if totals[name]}


def agreement(judged: Sequence[JudgedDialogue]) -> float:
    """The share of all metrics of all domains on which the two judges agree."""
    same = total = 0
    for entry in judged:
        for domain, theirs in (entry.llm_verdicts or {}).items():
            for metric in METRICS:
                value = getattr(theirs, metric)
                if value is not None:
                    total += 1
                    same += value == getattr(entry.verdicts[domain], metric)
    return same / total if total else 0.0
