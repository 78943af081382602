"""What the worker replies, as typed records. It runs another package's code, so all is checked."""

import json
from typing import Annotated, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import checked
from coalm_oumi.evaluation.styles import ChatRecord

RESUME = "the answers so far are kept: run the command again to resume"
"""What a user does about a worker that failed."""

Kind = Literal["single_turn", "multi_turn", "web_search", "memory", "memory_prereq"]
"""How a sample is asked and judged."""

_whole = with_config(ConfigDict(extra="forbid", strict=True))
# A record within another takes its configuration, so this one says that more keys are allowed.
_part = with_config(ConfigDict(extra="allow", strict=True))


@_part
class BfclMessage(ChatRecord):
    """A message. The package may have written more keys."""


@_whole
class AdditionRecord(TypedDict):
    """The fields of `Addition`."""

    prompt: str
    short_prompt: str
    tools: list[dict[str, Json]]


@_whole
class BfclQuestion(TypedDict):
    """The fields of `BfclEntry` without its place. The keys of `additions` are turns."""

    id: str
    turns: list[list[BfclMessage]]
    functions: list[dict[str, Json]]
    prompted: list[BfclMessage]
    tools: list[dict[str, Json]]
    additions: dict[Annotated[str, Field(pattern=r"^\d+$")], AdditionRecord]
    expected: Json
    kind: Kind
    scenario: NotRequired[str]
    prompt_form: NotRequired[str]


@_whole
class BfclVerdictRecord(TypedDict):
    """The fields of `BfclVerdict`."""

    category: str
    index: int
    valid: bool
    decoded: Json
    type: NotRequired[str]
    reason: NotRequired[Json]


@_whole
class StepResults(TypedDict):
    """The result of each call of a step."""

    step: int
    results: list[str]


@_whole
class RecallRecord(TypedDict):
    """A first turn that tells what is in a memory, also in BFCL's default prompt mode."""

    first: list[BfclMessage]
    prompted: list[BfclMessage]


@_whole
class HandlerRecord(TypedDict):
    """The fields of `Official` without the model."""

    text: bool
    tools: bool
    varies_prompt: bool
    stop_token_ids: NotRequired[list[int]]
    keeps_special_tokens: NotRequired[bool]


@_whole
class UnusableHandler(TypedDict):
    """Why a handler cannot be used."""

    error: str


@_part
class PromptRecord(TypedDict):
    """What a handler sends as one text."""

    prompt: str
    tools: NotRequired[None]


@_part
class ChatRequestRecord(TypedDict):
    """What a handler sends to a chat API."""

    messages: list[dict[str, Json]]
    tools: list[dict[str, Json]] | None


@_whole
class HeardRecord(TypedDict):
    """An answer as the package's result files hold it, and its calls; None if it has none."""

    result: Json
    calls: list[str] | None


Step = PromptRecord | ChatRequestRecord | HeardRecord
"""A reply to a step: the next request, or the reading of an answer."""


QUESTIONS = TypeAdapter(list[BfclQuestion])
CALLS = TypeAdapter(list[list[str] | None])
STEP_RESULTS = TypeAdapter(StepResults)
NAMES = TypeAdapter(list[str])
HANDLER: TypeAdapter[HandlerRecord | UnusableHandler] = TypeAdapter(HandlerRecord | UnusableHandler)
REQUESTS = TypeAdapter(list[PromptRecord | ChatRequestRecord])
STEPS = TypeAdapter(list[Step])
RECALL = TypeAdapter(RecallRecord)
VERDICTS = TypeAdapter(list[BfclVerdictRecord])
DONE = TypeAdapter(dict[str, Json])

_T = TypeVar("_T")


def read(kind: TypeAdapter[_T], line: str, about: str) -> _T:
    """Reads a reply.

    Args:
        kind: What it should be.
        line: Its JSON.
        about: What was asked, for the error.

    Raises:
        CoalmError: It is not JSON, or something else.
    """
    try:
        # pydantic's own reader of JSON refuses halves of surrogate pairs, which a model may write.
        return checked(kind, json.loads(line), where="unexpected content")
    except (ValueError, RecursionError) as error:
        problem = f"not JSON: {error}"
    except CoalmError as error:
        problem = str(error)
    raise CoalmError(
        f"the worker of bfcl-eval gave a damaged reply at {about}: {problem}; {RESUME}"
    )
