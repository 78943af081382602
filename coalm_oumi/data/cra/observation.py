"""Writes the results of an annotated SGD call as an observation, cut to what the dialogue needs.

Figures 6 and 7 show one or two results, with the fields that the system mentions and without the
arguments of the call. SGD returns up to ten results of about eight fields.
"""

from collections.abc import Mapping, Sequence

from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.data.cra.sgd import Service
from coalm_oumi.formats.calls import FunctionCall

Turn = Json
"""A turn of a dialogue, in SGD's form."""


def write(
    results: Sequence[Mapping[str, Json]],
    call: FunctionCall,
    service: Service,
    name: str,
    later: Sequence[Turn],
    *,
    max_results: int | None,
) -> str:
    """Writes results as JSON, with the schema's types.

    Args:
        results: The results of the call.
        call: The call.
        service: The service of the call.
        name: The service's name.
        later: The system's turns, starting with that of the call.
        max_results: The most results to keep; None keeps all, with all their fields.

    Returns:
        The list of results. It holds those that the system mentions until its next call, or
        the first. Where others are left out, it is an object that says how many there were, as
        the system tells the user: `{"count": 10, "results": [...]}`.
    """
    typed = [service.typed(result) for result in results]
    if max_results is None:
        return dumps(typed)
    spoken_of = _spoken_of(results, _offers(later)) or list(range(len(typed)))[:1]
    chosen = sorted(spoken_of[:max_results])
    spoken = _spoken_values(later, name)
    shown = [_cut(typed[index], call, spoken) for index in chosen]
    return dumps(shown if len(shown) == len(typed) else {"count": len(typed), "results": shown})


def _cut(
    result: Mapping[str, Json], call: FunctionCall, spoken: set[tuple[str, str]]
) -> Mapping[str, Json]:
    """Keeps the values that the system says, and those that differ from what was asked.

    A booking that succeeded as asked has neither. Then all values that were not asked are kept.
    """
    unasked = {name: value for name, value in result.items() if name not in call.arguments}
    kept: dict[str, Json] = {}
    for name, value in result.items():
        is_said = name in unasked and (name, str(value)) in spoken
        if is_said or (name in call.arguments and call.arguments[name] != value):
            kept[name] = value
    return kept or unasked or result


def _spoken_values(turns: Sequence[Turn], service: str) -> set[tuple[str, str]]:
    """Collects the values that the system says about a service, with their slots."""
    said: set[tuple[str, str]] = set()
    for turn in turns:
        for frame in turn["frames"]:
            if frame["service"] == service:
                for action in frame["actions"]:
                    said.update((action["slot"], value) for value in _values(action))
    return said


def _values(action: Json) -> Sequence[str]:
    return action.get("canonical_values") or action["values"]


def _offers(turns: Sequence[Turn]) -> list[Mapping[str, Sequence[str]]]:
    """Collects what the system offers from a call's turn on, until the turn of its next call."""
    offers: list[Mapping[str, Sequence[str]]] = []
    for number, turn in enumerate(turns):
        if number and any("service_call" in frame for frame in turn["frames"]):
            break
        for frame in turn["frames"]:
            offered: dict[str, Sequence[str]] = {}
            for action in frame["actions"]:
                if action["act"] == "OFFER" and action["slot"]:
                    offered[action["slot"]] = _values(action)
            if offered:
                offers.append(offered)
    return offers


def _spoken_of(
    results: Sequence[Mapping[str, Json]], offers: Sequence[Mapping[str, Sequence[str]]]
) -> list[int]:
    """Finds the positions of the results that offers mention, in the order of the offers."""
    found: dict[int, None] = {}
    for offer in offers:
        fitting = [index for index, result in enumerate(results) if _fits(result, offer)]
        # An offer names as many results as its longest list of values, such as three movies.
        found |= dict.fromkeys(fitting[: max(map(len, offer.values()), default=0)])
    return list(found)


def _fits(result: Mapping[str, Json], offer: Mapping[str, Sequence[str]]) -> bool:
    known = {slot: values for slot, values in offer.items() if slot in result and values}
    return bool(known) and all(result[slot] in values for slot, values in known.items())
