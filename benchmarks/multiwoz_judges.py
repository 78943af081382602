"""Compares the deterministic judge of MultiWOZ with GPT-3.5's recorded judgements, both ways.

    python benchmarks/multiwoz_judges.py ../shared/data/multiwoz

It prints for each metric how often the two agree, and how often only one of them says right. Two
more agents are judged on the test split: one that repeats what the user says, and so should get no
Inform, and one that offers another valid place wherever the human operator offered one.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from coalm_oumi.evaluation.multiwoz import data, reader
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.judge import METRICS, DialogueRecords, check
from coalm_oumi.evaluation.multiwoz.values import VENUES, clean_name
from coalm_oumi.evaluation.multiwoz.world import Booking
from coalm_oumi.files.jsontext import read_jsonl


def row_of(record: Any) -> dict[str, str] | None:
    """Reads a booking as AutoTOD wrote it. Text instead of a record says that there was none."""
    if not isinstance(record, dict):
        return None
    renamed = {"tickets": "people"}
    return {renamed.get(str(k), str(k)): str(v) for k, v in record.items() if v is not None}


def compare(folder: Path, database: Database) -> Counter[tuple[str, str]]:
    """Counts by metric and by who says right: `both`, `neither`, `ours only`, `GPT only`."""
    file = folder / "autotod_gpt35_runs_a.jsonl"
    kinds = {(True, True): "both", (False, False): "neither", (True, False): "ours only"}
    counts: Counter[tuple[str, str]] = Counter()
    dialogues = data.read(file, version="2.1")
    for dialogue, (_, record) in zip(dialogues, read_jsonl(file), strict=True):
        judged = record["eval_results"]
        bookings = [
            Booking(row["refer_number"], domain, row)
            for domain, entry in judged.items()
            if (row := row_of(entry["book"].get("book_record")))
        ]
        turns = [(turn["user"], turn["agent"]) for turn in record["run_result"]["dialog_pred"]]
        for domain, entry in judged.items():
            # AutoTOD kept no record of its taxis.
            transcript = reader.Transcript(turns, None if domain == "taxi" else bookings)
            goal = dialogue.goals[domain]
            answers = reader.answers(domain, goal, transcript, database)
            verdict = check(domain, goal, answers, DialogueRecords(database, bookings))
            for metric in METRICS:
                theirs = entry[metric]["complete"]
                if theirs is not None:
                    ours = bool(getattr(verdict, metric))
                    counts[metric, kinds.get((ours, bool(theirs)), "GPT only")] += 1
    return counts


def echo(folder: Path, database: Database) -> tuple[int, int]:
    """Returns how many domains an agent informs of that repeats the user, and of how many."""
    right = total = 0
    for dialogue in data.read(folder / "multiwoz_2.1_test.json.zip", version="2.1"):
        turns = [(turn.user, turn.user) for turn in dialogue.turns]
        for domain, goal in dialogue.goals.items():
            answers = reader.answers(domain, goal, reader.Transcript(turns, []), database)
            verdict = check(domain, goal, answers, DialogueRecords(database, []))
            if verdict.inform is not None:
                total += 1
                right += verdict.inform
    return right, total


def offers(folder: Path, database: Database) -> tuple[int, int, int]:
    """Judges agents that offer a valid place wherever the operator names one.

    Returns:
        How many of the domains with a choice of valid places are informed of by the operator's
        place, by another valid place, and how many there are.
    """
    same = other = total = 0
    for dialogue in data.read(folder / "multiwoz_2.1_test.json.zip", version="2.1"):
        for domain in dialogue.goals.keys() & set(VENUES):
            goal = dialogue.goals[domain]
            valid = {clean_name(row["name"]): row for row in database.search(domain, goal.info)}
            named = [database.named_in(domain, turn.system) for turn in dialogue.turns]
            offered = [name for names in named for name in names if name in valid]
            others = [name for name in valid if name not in offered]
            if not offered or not others:
                continue
            total += 1
            informed = []
            for place in (offered[-1], others[0]):
                reply = f"I recommend {valid[place]['name']}, a popular one."
                turns = [
                    (turn.user, reply if names else "Which one do you like?")
                    for turn, names in zip(dialogue.turns, named, strict=True)
                ]
                answers = reader.answers(domain, goal, reader.Transcript(turns, []), database)
                informed.append(check(domain, goal, answers, DialogueRecords(database, [])).inform)
            same += bool(informed[0])
            other += bool(informed[1])
    return same, other, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="with db/, the run of AutoTOD and the test split")
    folder = parser.parse_args().folder
    database = Database(folder / "db")
    counts = compare(folder, database)
    kinds = ("both", "neither", "ours only", "GPT only")
    for metric in (*METRICS, "all"):
        row = {k: sum(n for (m, kind), n in counts.items() if kind == k and metric in (m, "all"))
               for k in kinds}  # fmt: skip
        print(f"{metric:8}", ", ".join(f"{kind} {count}" for kind, count in row.items()))
    right, total = echo(folder, database)
    print(f"an agent that repeats the user informs of {right} of {total} domains")
    same, other, total = offers(folder, database)
    print(
        f"offers of the operator's place inform of {same}, of another valid one {other} of {total}"
    )


if __name__ == "__main__":
    main()
