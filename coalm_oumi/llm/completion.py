"""Reads chat completions, tolerating what servers add, leave out and get wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coalm_oumi.core.jsontext import Json, JsonValue, dumps, is_list, is_object
from coalm_oumi.core.usage import Usage
from coalm_oumi.llm.http import error_of

_TEMPLATE = 64
"""Tokens that a chat template may add, estimated generously."""

_MOST_TOKENS = 10**9
"""No request has more. A higher count of a server is not believed."""


class ServerSaysError(ValueError):
    """A reply with status 200 that holds an error.

    Attributes:
        status: The HTTP status that it corresponds to.
    """

    def __init__(self, message: str, status: int) -> None:
        """Takes the server's words.

        Args:
            message: The error.
            status: An HTTP status.
        """
        super().__init__(message)
        self.status = status


def read_body(body: bytes) -> Json:
    """Reads the JSON of a reply.

    NaN and Infinity become null: some servers write them as log probabilities.

    Raises:
        ValueError: Not JSON, or nested too deeply.
    """
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_constant=lambda _: None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a server.

    Attributes:
        text: The text; empty if there are only calls.
        tool_calls: The calls in the API's form: their arguments are JSON text.
        thoughts: The hidden reasoning, by the key that the server gives it.
        finish_reason: `stop`, or another reason.
        usage: The tokens that the server counts, or their bounds.
    """

    text: str
    tool_calls: Sequence[JsonValue]
    thoughts: Mapping[str, str]
    finish_reason: str
    usage: Usage

    def as_json(self) -> dict[str, JsonValue]:
        """Returns the completion in the documented form of the API."""
        message: dict[str, JsonValue] = {"role": "assistant", "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
            message["content"] = self.text or None
        message |= self.thoughts
        return {
            "choices": [{"message": message, "finish_reason": self.finish_reason}],
            "usage": {
                "prompt_tokens": self.usage.input_tokens,
                "completion_tokens": self.usage.output_tokens,
                "total_tokens": self.usage.input_tokens + self.usage.output_tokens,
            },
        }


def read(content: Json, messages: Sequence[Mapping[str, Any]], **more: Json) -> Completion:
    """Reads a completion.

    Text in parts is joined, a missing id is filled in, arguments become text, and a count of tokens
    that is not a number becomes the bound by bytes.

    Args:
        content: The reply.
        messages: The request's messages, for that bound.
        **more: Other parts of the prompt, such as the tools.

    Raises:
        ServerSaysError: The reply is an error.
        ValueError: It is not a completion.
    """
    if not is_object(content):
        raise ValueError(f"expected an object, found {type(content).__name__}")
    choices = content.get("choices")
    if not choices or content.get("error"):
        if error := error_of(content):
            raise ServerSaysError(error, _status(content))
        raise ValueError("it has no `choices`")
    choice = choices[0] if is_list(choices) else None
    message = choice.get("message") if is_object(choice) else None
    if not is_object(choice) or not is_object(message):
        raise ValueError("its first choice has no `message`")
    text = _text(message.get("content"))
    tool_calls = _tool_calls(message.get("tool_calls"))
    named = ((name, message.get(name)) for name in ("reasoning", "reasoning_content"))
    thoughts = {name: thought for name, thought in named if isinstance(thought, str)}
    reason = choice.get("finish_reason")
    calls = dumps(tool_calls) if tool_calls else ""
    thought = thoughts.get("reasoning") or thoughts.get("reasoning_content") or ""
    written = len((text + thought + calls).encode("utf-8", "replace"))
    bound = Usage(most_tokens(messages, **more), written)
    return Completion(
        text=text,
        tool_calls=tool_calls,
        thoughts=thoughts,
        finish_reason=reason if isinstance(reason, str) else "stop",
        usage=_usage(content.get("usage"), bound),
    )


def _usage(content: Json, bound: Usage) -> Usage:
    """Returns the tokens that a server counts, or the bound if a count is not a number."""
    counted = content if is_object(content) else {}

    def count(name: str, most: int) -> int:
        value = counted.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return most
        return value if 0 <= value <= _MOST_TOKENS else most

    return Usage(
        count("prompt_tokens", bound.input_tokens), count("completion_tokens", bound.output_tokens)
    )


def most_tokens(messages: Sequence[Mapping[str, Any]], **more: Json) -> int:
    """Returns a bound of a prompt's tokens: no tokenizer makes more than one per byte of JSON."""
    return len(dumps([*messages, more]).encode("utf-8", "replace")) + _TEMPLATE


def _status(content: Mapping[str, Json]) -> int:
    error = content.get("error")
    code = error.get("code") if is_object(error) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _text(content: Json) -> str:
    """Joins the text of content in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = [content] if is_object(content) else content
    if not is_list(parts):
        raise ValueError(f"its content is {type(content).__name__}, expected text")
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if is_object(part) else part
        if isinstance(text, str):
            texts.append(text)
    if parts and not texts:
        raise ValueError("its content holds no text")
    return "".join(texts)


def _tool_calls(tool_calls: Json) -> list[JsonValue]:
    if not tool_calls:
        return []
    if not is_list(tool_calls):
        raise ValueError(f"its tool calls are {type(tool_calls).__name__}, expected a list")
    return [_tool_call(call, place) for place, call in enumerate(tool_calls)]


def _tool_call(call: Json, place: int) -> JsonValue:
    function = call.get("function", call) if is_object(call) else None
    name = function.get("name") if is_object(function) else None
    if not is_object(call) or not is_object(function) or not isinstance(name, str):
        raise ValueError(f"its tool call {place} names no function")
    arguments = function.get("arguments")
    if arguments is None:
        arguments = "{}"
    elif not isinstance(arguments, str):
        arguments = dumps(arguments)
    identifier = call.get("id")
    if not isinstance(identifier, str) or not identifier:
        identifier = f"call_{place}"
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
