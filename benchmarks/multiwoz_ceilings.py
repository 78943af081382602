"""Measures how high JGA can get on MultiWOZ for an agent whose state is read from its calls.

    python benchmarks/multiwoz_ceilings.py ../shared/data/multiwoz/multiwoz_2.1_test.json.zip 2.1

Oracles that know the annotated states make every call that a turn implies. They differ in what
they may know: all values, those that the user said, those without `dontcare`. docs/multiwoz.md
shows the table.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from coalm_oumi.evaluation.multiwoz import data
from coalm_oumi.evaluation.multiwoz.data import Dialogue, State
from coalm_oumi.evaluation.multiwoz.state import Predicted, Tracking, score, track
from coalm_oumi.evaluation.multiwoz.values import DOMAINS, clean_name, clean_time
from coalm_oumi.evaluation.multiwoz.world import FUNCTIONS
from coalm_oumi.formats.calls import FunctionCall

_TIME = re.compile(r"\b\d{1,2}[:.]?\d{2}\b|\b\d{1,2} ?[ap]\.?m\b", re.IGNORECASE)


def implied_calls(state: dict[str, str]) -> list[FunctionCall]:
    """Returns the calls that say a state: each tool with the arguments that the state holds."""
    found = []
    for function in FUNCTIONS:
        action, _, domain = function.name.partition("_")
        prefix = f"{domain}-book " if action == "book" and domain != "taxi" else f"{domain}-"
        arguments = {}
        for argument in (*function.required, *function.optional):
            slot = f"{domain}-name" if argument == "name" else f"{prefix}{argument.lower()}"
            if slot in state:
                arguments[argument] = state[slot]
        if arguments and "trainID" in function.required:
            arguments["trainID"] = "TR0001"  # known from a query, and no part of a state
        if arguments:
            found.append(FunctionCall(function.name, arguments))
    return found


def is_said(value: str, text: str) -> bool:
    """Returns True if a canonical value stands in a text."""
    if re.fullmatch(r"\d\d:\d\d", value):
        return value in {clean_time(time) for time in _TIME.findall(text)}
    return f" {clean_name(value)} " in f" {clean_name(text)} "


def states(
    dialogue: Dialogue, knows: Callable[[str, str, str], bool]
) -> list[tuple[Predicted, State]]:
    """Pairs the oracle's state with the annotated one after each turn of the user.

    Args:
        dialogue: The reference dialogue.
        knows: Returns True if the oracle knows a value, from the value, what the user said so far,
            and what the operator said before.
    """
    pairs = []
    tracked: dict[str, str] = {}
    user = operator = ""
    for turn in dialogue.turns:
        user += f" {turn.user}"
        assert turn.state is not None
        known = {
            slot: values[0]
            for slot, values in turn.state.items()
            if knows(values[0], user, operator)
        }
        tracked = track(implied_calls(known), tracked)
        pairs.append((tracked, turn.state))
        operator += f" {turn.system}"
    return pairs


def only_operator(value: str, user: str, operator: str) -> bool:
    """Returns True if the operator said a value and the user did not."""
    return is_said(value, operator) and not is_said(value, user)


ORACLES: dict[str, Callable[[str, str, str], bool]] = {
    "every implied call, the operator's replies in the history": lambda value, user, operator: True,
    "the same without dontcare": lambda value, user, operator: value != "dontcare",
    "only what the user said": lambda value, user, operator: (
        not only_operator(value, user, operator)
    ),
    "only what the user said, without dontcare": lambda value, user, operator: (
        value != "dontcare" and not only_operator(value, user, operator)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("version")
    options = parser.parse_args()
    dialogues = data.read(options.path, version=options.version)
    print(f"{len(dialogues)} dialogues of MultiWOZ {options.version}")
    for name, knows in ORACLES.items():
        tracking = score([pair for dialogue in dialogues for pair in states(dialogue, knows)])
        print(name, show(tracking))


def show(tracking: Tracking) -> str:
    domains = " ".join(f"{d} {100 * tracking.by_domain[d]:.1f}" for d in DOMAINS)
    return f"{100 * tracking.joint_goal_accuracy:.1f}: {domains}"


if __name__ == "__main__":
    main()
