"""Fits calls to the functions that a prompt lists (paper, Figure 6).

The paper's prompts list only required arguments, while SGD's calls have optional ones as well. In
Figure 6 the user wants events "this weekend", and the call leaves out the date, because
`FindEvents` is listed without it. Here a call is rewritten in the same way if the result is still
right. Otherwise it is not a target.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json
from coalm_oumi.data.cra.dialogue import CraTurn, Target, call_fault
from coalm_oumi.data.cra.sgd import Service, Services, find_service
from coalm_oumi.formats.calls import FunctionCall

_INDIFFERENT = "dontcare"
"""SGD's value of an optional argument that does not matter."""


@dataclass(frozen=True, slots=True)
class ListedCall:
    """A call, fitted to the functions that a prompt lists.

    Attributes:
        call: The call, with listed arguments only.
        unlisted: The arguments left out whose values the user has given.
        not_a_target: Why the call must not be learned in this form; None if it may.
    """

    call: FunctionCall
    unlisted: tuple[str, ...] = ()
    not_a_target: str | None = None

    @property
    def left_out(self) -> dict[Target, str]:
        """The samples that must not be made of the call's turn, each with the reason."""
        if self.not_a_target is None:
            return {}
        return {"action": self.not_a_target, "decision": self.not_a_target}


def fit(
    call: FunctionCall,
    service: Service,
    listed: Sequence[Function],
    *,
    earlier: Iterable[FunctionCall] = (),
) -> ListedCall:
    """Leaves out the optional arguments of a call that a prompt does not list.

    An argument with its default value can be left out without loss. Without another argument, a
    search returns more results, which include what the user asked for. So it stays a target, unless
    it then equals an earlier call. A booking without the argument would book something else, so it
    is not a target.

    Args:
        call: The call, with typed arguments.
        service: The service that it is made to.
        listed: The functions of the prompt.
        earlier: The calls of the dialogue so far, as they were written.
    """
    function = service.functions[call.name]
    known = {*function.required, *(function.optional if function in listed else ())}
    kept: dict[str, Json] = {}
    unlisted: list[str] = []
    for name, value in call.arguments.items():
        if name in known or name not in function.optional:
            kept[name] = value
        elif value not in (_INDIFFERENT, function.optional[name]):
            unlisted.append(name)
    written = FunctionCall(call.name, kept)
    fault = None
    if unlisted and call.name in service.bookings:
        fault = "a booking needs an optional argument that its prompt does not list"
    elif unlisted and (not kept or written in list(earlier)):
        fault = "a search says nothing new without optional arguments that its prompt does not list"
    return ListedCall(written, tuple(unlisted), fault or call_fault(written, listed))


def fit_turns(
    turns: Sequence[CraTurn], services: Services, used: Sequence[str], listed: Sequence[Function]
) -> list[CraTurn]:
    """Fits the calls of a recorded dialogue, and gives their arguments the schema's types.

    Args:
        turns: The dialogue.
        services: The split's schema.
        used: The dialogue's own services.
        listed: The functions of the prompt.
    """
    fitted: list[CraTurn] = []
    calls: list[FunctionCall] = []
    for turn in turns:
        service = find_service(services, used, turn.api.call) if turn.api else None
        if turn.api is None or service is None:
            fitted.append(turn)  # a call of an unknown function is left to the check of the samples
            continue
        call = turn.api.call
        typed = FunctionCall(call.name, service.typed(call.arguments))
        result = fit(typed, service, listed, earlier=calls)
        calls.append(result.call)
        step = replace(turn.api, call=result.call)
        fitted.append(replace(turn, api=step, left_out=result.left_out))
    return fitted
