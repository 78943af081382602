"""Measures how high JGA can get on MultiWOZ for an agent whose state is read from its calls.

    python benchmarks/multiwoz_ceilings.py ../shared/data/multiwoz/multiwoz_2.1_test.json.zip 2.1

After each turn of the user, oracles that know the annotated states make every call that the state
implies. They differ in what they may know and when they may book. The script prints the Markdown
table of docs/multiwoz.md, and the share of turns whose state holds a value that only the operator
said.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.evaluation.multiwoz import data
from coalm_oumi.evaluation.multiwoz.data import Dialogue, State
from coalm_oumi.evaluation.multiwoz.state import Predicted, score, track
from coalm_oumi.evaluation.multiwoz.values import DOMAINS, clean_name, clean_time
from coalm_oumi.evaluation.multiwoz.world import FUNCTIONS
from coalm_oumi.formats.calls import FunctionCall

_TIME = re.compile(r"\b\d{1,2}[:.]?\d{2}\b|\b\d{1,2} ?[ap]\.?m\b", re.IGNORECASE)


@dataclass(frozen=True)
class Oracle:
    """The knowledge and behaviour of an oracle.

    Attributes:
        label: Its row of the table.
        knows_operator: True if it knows what the human operator said: `history: reference`.
        knows_dontcare: True if it says `dontcare` where the user has no preference.
        books_early: True if it makes booking calls that still miss a value, and are refused.
    """

    label: str
    knows_operator: bool = True
    knows_dontcare: bool = True
    books_early: bool = False


ORACLES = (
    Oracle("every implied call, bookings still incomplete among them", books_early=True),
    Oracle("every implied call, bookings once complete"),
    Oracle("the same without `dontcare`", knows_dontcare=False),
    Oracle("bookings once complete, only what the user said", knows_operator=False),
    Oracle("the same without `dontcare`", knows_operator=False, knows_dontcare=False),
)


def implied_calls(state: Predicted, oracle: Oracle) -> list[FunctionCall]:
    """Returns the calls that say a state: each tool with the arguments that the state holds."""
    implied = []
    for function in FUNCTIONS:
        arguments = _arguments(function, state)
        is_complete = all(name in arguments for name in function.required)
        if arguments and (is_complete or oracle.books_early):
            implied.append(FunctionCall(function.name, arguments))
    return implied


def _arguments(function: Function, state: Predicted) -> dict[str, str]:
    action, _, domain = function.name.partition("_")
    prefix = f"{domain}-book " if action == "book" and domain != "taxi" else f"{domain}-"
    arguments = {}
    for argument in (*function.required, *function.optional):
        slot = f"{domain}-name" if argument == "name" else f"{prefix}{argument.lower()}"
        if slot in state:
            arguments[argument] = state[slot]
    if arguments and "trainID" in function.required:
        arguments["trainID"] = "TR0001"  # from a query, and no part of a state
    return arguments


def is_said(value: str, text: str) -> bool:
    """Returns True if a canonical value stands in a text."""
    if re.fullmatch(r"\d\d:\d\d", value):
        return value in {clean_time(time) for time in _TIME.findall(text)}
    return f" {clean_name(value)} " in f" {clean_name(text)} "


def annotated(dialogue: Dialogue) -> list[tuple[State, dict[str, str], set[str]]]:
    """Returns each turn's state, a value of each slot, and the slots that the operator filled.

    The operator filled a slot if it said the value before and the user did not.
    """
    turns = []
    user = operator = ""
    for turn in dialogue.turns:
        if turn.state is None:
            raise CoalmError(f"{dialogue.dialogue_id}: its turns have no states")
        user += f" {turn.user}"
        values = {slot: accepted[0] for slot, accepted in turn.state.items()}
        from_operator = {
            slot
            for slot, value in values.items()
            if is_said(value, operator) and not is_said(value, user)
        }
        turns.append((turn.state, values, from_operator))
        operator += f" {turn.system}"
    return turns


def states(dialogue: Dialogue, oracle: Oracle) -> list[tuple[Predicted, State]]:
    """Pairs the oracle's state with the annotated one after each turn of the user."""
    pairs = []
    tracked: dict[str, str] = {}
    for truth, values, from_operator in annotated(dialogue):
        known = {
            slot: value
            for slot, value in values.items()
            if (oracle.knows_operator or slot not in from_operator)
            and (oracle.knows_dontcare or value != "dontcare")
        }
        tracked = track(implied_calls(known, oracle), tracked)
        pairs.append((tracked, truth))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="MultiWOZ's archive, or one file of dialogues")
    parser.add_argument("version", help="the version of MultiWOZ, such as 2.1")
    options = parser.parse_args()
    dialogues = data.read(options.path, version=options.version)
    print(f"| oracle, {len(dialogues)} dialogues of {options.version} | JGA |", end="")
    print(f" {' | '.join(DOMAINS)} |\n|{' --- |' * (len(DOMAINS) + 2)}")
    for oracle in ORACLES:
        tracking = score([pair for dialogue in dialogues for pair in states(dialogue, oracle)])
        shares = [tracking.joint_goal_accuracy, *(tracking.by_domain[d] for d in DOMAINS)]
        print(f"| {oracle.label} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")
    turns = [turn for dialogue in dialogues for turn in annotated(dialogue)]
    share = sum(bool(from_operator) for *_, from_operator in turns) / len(turns)
    print(
        f"\n{100 * share:.1f} % of {len(turns):,} turns hold a value that only the operator said."
    )


if __name__ == "__main__":
    main()
