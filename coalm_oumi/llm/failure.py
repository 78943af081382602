"""Classifies the errors of servers and engines: why a question has no answer."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from coalm_oumi.core.usage import Usage

if TYPE_CHECKING:
    from oumi.core.inference.base_inference_engine import FailureDetail

# The codes of OpenAI and llama.cpp, then how OpenAI, vLLM, SGLang, llama.cpp, TGI, Gemini,
# Anthropic, Mistral, Cohere and Bedrock word it.
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size_error|request_too_large"
    r"|too long|too many (?:input )?tokens|token count\b.{0,60}\bexceeds"
    r"|context[ _](?:length|size|window|limit)|model[ _]length|max_model_len"
    r"|maximum (?:allowed )?(?:input |context )?length|maximum number of tokens allowed"
    r"|`?inputs`? (?:tokens \+|must have less than)|reduce the length"
    r"|input length|prompt\b.{0,80}\btoo large|longer than the maximum",
    re.IGNORECASE | re.DOTALL,
)
_REFUSALS = (400, 413, 422)
_NO_ACCESS = (401, 402, 403, 404, 405, 407)


class Cause(Enum):
    """Why a question has no answer."""

    TOO_LONG = "longer than the model's context"
    REFUSED = "refused for what it says, or answered unreadably"
    BROKEN = "the engine broke at it"
    UNASKED = "no answer: no connection, a fault of the server, a busy server"
    NO_ACCESS = "nothing can be asked: no access, no such model, a wrong setting"


@dataclass(frozen=True, slots=True)
class Generated:
    """The text of a model, or the reason why there is none.

    Attributes:
        text: The text, or None. Native tool calls are the JSON list of Figure 5.
        usage: Its tokens, if the engine counts them.
        cause: Why there is no text.
        error: The cause in the engine's words.
        is_cut: True if the engine says that the text reached `max_new_tokens`.
    """

    text: str | None
    usage: Usage = field(default_factory=Usage)
    cause: Cause | None = None
    error: str = ""
    is_cut: bool = False


def is_too_long(message: str, status: int | None) -> bool:
    """Returns True if a server's error means that the prompt exceeds the model's context.

    Args:
        message: The server's words, with its code.
        status: The HTTP status; None for an engine in this process.
    """
    if status == 413:
        return True
    return status not in (*_NO_ACCESS, 408, 429) and bool(_TOO_LONG.search(message))


def failed(message: str, status: int | None) -> Generated:
    """Classifies a server's answer that is not a completion.

    Args:
        message: The server's words.
        status: The HTTP status; None if there was no reply.
    """
    if status is not None and is_too_long(message, status):
        cause = Cause.TOO_LONG
    elif status in _REFUSALS:
        cause = Cause.REFUSED
    elif status in _NO_ACCESS:
        cause = Cause.NO_ACCESS
    else:
        cause = Cause.UNASKED
    return Generated(None, cause=cause, error=message)


def failed_in_engine(detail: "FailureDetail | None") -> Generated:
    """Classifies an error that Oumi reports for an engine in this process."""
    if detail is None:
        return Generated(None, cause=Cause.BROKEN, error="the inference engine gave no answer")
    message = detail.error_message
    if detail.status_code is not None:
        return failed(message, detail.status_code)
    is_long = bool(_TOO_LONG.search(message))
    return Generated(None, cause=Cause.TOO_LONG if is_long else Cause.BROKEN, error=message)
