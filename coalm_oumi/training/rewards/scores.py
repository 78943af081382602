"""The rewards as pure functions of an answer and its sample, each in [0, 1].

What an answer in the form of its target gets, by the kind of target:

| score | state (`tod`) | calls (`la`, `cra`) | plain reply, or no call due |
| --- | --- | --- | --- |
| `form` | 1 | 1 | 1 |
| `call_validity` | 1 | share of valid calls | 1 without calls, else as for calls |
| `match` | slot F1 | 1 for exactly the target's calls, else 0 | 1 without calls, else 0 |
| `argument_support` | share of supported values | the same | 1 without calls, else as for calls |

An unreadable answer gets 0 from all of them. If the target has calls or values, an answer without
any gets 0 for them, so that a model gains nothing by saying nothing. The target's own calls and
values always count as valid and supported, so that every target gets 1. No score judges the wording
of replies, which is left to supervised training.
"""

from collections.abc import Iterator

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.sample import Sample
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.held_out.metrics import slot_parts
from coalm_oumi.evaluation.matching import ast_match, same_call, same_value
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.training.rewards.answers import ReadAnswer, read, target
from coalm_oumi.training.rewards.context import Context, context


def form(text: str, sample: Sample) -> float:
    """Returns 1 if an answer is in the form of the target, else 0."""
    return float(_read(text, sample) is not None)


def call_validity(text: str, sample: Sample) -> float:
    """Returns the share of calls that the prompt's functions allow.

    A valid call names a listed function, has its required arguments and no unknown ones. If the
    prompt lists no readable functions, every call is valid.
    """
    answer, expected = _read(text, sample), target(sample)
    if answer is None:
        return 0.0
    return _share(
        [_is_valid(call, expected, context(sample)) for call in answer.calls],
        due=bool(expected.calls),
    )


def match(text: str, sample: Sample) -> float:
    """Returns how well an answer matches the target: `ast_match` for calls, slot F1 for a state."""
    answer, expected = _read(text, sample), target(sample)
    if answer is None:
        return 0.0
    if answer.state is not None and expected.state is not None:
        if answer.state == expected.state:
            return 1.0
        return results.shares([slot_parts(answer.state, expected.state)])["slot_f1"]
    return float(ast_match(answer.calls, expected.calls))


def argument_support(text: str, sample: Sample) -> float:
    """Returns the share of argument or slot values that the prompt supports. Others are made up.

    A value is supported if the user, the tools or the system's replies said it, after normalising
    (see `coalm_oumi.data.cra.evidence`), or if it is the default that the prompt lists for its
    argument.
    """
    answer, expected = _read(text, sample), target(sample)
    if answer is None:
        return 0.0
    given = list(_values(expected))
    return _share(
        [
            any(name == other and same_value(value, true) for _, other, true in given)
            or _is_default(function, name, value, context(sample))
            or context(sample).evidence.supports(value)
            for function, name, value in _values(answer)
        ],
        due=bool(given),
    )


def _read(text: str, sample: Sample) -> ReadAnswer | None:
    try:
        return read(text, sample)
    except CoalmError:
        return None


def _share(verdicts: list[bool], *, due: bool) -> float:
    if not verdicts:
        return 0.0 if due else 1.0
    return sum(verdicts) / len(verdicts)


def _is_valid(call: FunctionCall, expected: ReadAnswer, given: Context) -> bool:
    if given.functions is None or any(same_call(call, other) for other in expected.calls):
        return True
    return any(
        set(function.required) <= set(call.arguments)
        and set(call.arguments) <= {*function.required, *function.optional}
        for function in given.functions.get(call.name, ())
    )


def _values(answer: ReadAnswer) -> Iterator[tuple[str, str, Json]]:
    """Yields each value with its function or domain, and its argument or slot."""
    for call in answer.calls:
        for name, value in call.arguments.items():
            yield call.name, name, value
    if answer.state is not None:
        for domain, slot, value in answer.state.triples().elements():
            yield domain, slot, value


def _is_default(function: str, name: str, value: Json, given: Context) -> bool:
    return any(
        name in known.optional and same_value(known.optional[name], value)
        for known in (given.functions or {}).get(function, ())
    )
