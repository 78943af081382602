"""Reads chat completions of servers that differ in what they add, leave out and get wrong."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.core.usage import Usage
from coalm_oumi.llm.http import error_of

_TEMPLATE = 64
"""Tokens that a chat template may add; generous."""

_MOST_TOKENS = 10**9
"""No request has more; a server that counts more is not believed."""


class ServerSaysError(ValueError):
    """A reply with status 200 that holds an error.

    Attributes:
        status: The status that it stands for.
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


def normalise(content: Json, messages: Sequence[Mapping[str, Any]], **more: Json) -> Json:
    """Returns a completion as the API's documentation has it.

    Text in parts is joined, a missing role, id or type is filled in, arguments become text, and a
    count of tokens that is not a number becomes the bound by bytes.

    Args:
        content: The reply.
        messages: The request's, for that bound.
        **more: What else the prompt holds, such as the tools.

    Raises:
        ServerSaysError: It is an error.
        ValueError: It is not a completion.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"expected an object, found {type(content).__name__}")
    choices = content.get("choices")
    if not choices or content.get("error"):
        if error := error_of(content):
            raise ServerSaysError(error, _status(content))
        raise ValueError("it has no `choices`")
    choice = choices[0] if isinstance(choices, list) else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise ValueError("its first choice has no `message`")
    text = _text(message.get("content"))
    tool_calls = _tool_calls(message.get("tool_calls"))
    answer: dict[str, Json] = {"role": "assistant", "content": text}
    if tool_calls:
        answer["tool_calls"] = tool_calls
        answer["content"] = text or None
    for name in ("reasoning", "reasoning_content"):
        if isinstance(message.get(name), str):
            answer[name] = message[name]
    reason = choice.get("finish_reason")
    thoughts = answer.get("reasoning") or answer.get("reasoning_content") or ""
    calls = dumps(tool_calls) if tool_calls else ""
    written = len((text + thoughts + calls).encode("utf-8", "replace"))
    bound = Usage(most_tokens(messages, **more), written)
    usage = read_usage(content.get("usage"), bound)
    return {
        "choices": [
            {"message": answer, "finish_reason": reason if isinstance(reason, str) else "stop"}
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def read_usage(counted: Json, bound: Usage) -> Usage:
    """Returns the tokens that a server counts, or the bound if a count is none."""
    counted = counted if isinstance(counted, Mapping) else {}

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


def _status(content: Mapping[str, Any]) -> int:
    error = content.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _text(content: Json) -> str:
    """Joins the text of content in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise ValueError(f"its content is {type(content).__name__}, expected text")
    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            texts.append(text)
    if content and not texts:
        raise ValueError("its content holds no text")
    return "".join(texts)


def _tool_calls(tool_calls: Json) -> list[Json]:
    if not tool_calls:
        return []
    if not isinstance(tool_calls, list):
        raise ValueError(f"its tool calls are {type(tool_calls).__name__}, expected a list")
    return [_tool_call(call, place) for place, call in enumerate(tool_calls)]


def _tool_call(call: Json, place: int) -> Json:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise ValueError(f"its tool call {place} names no function")
    arguments = function.get("arguments")
    if arguments is None:
        arguments = "{}"
    elif not isinstance(arguments, str):
        arguments = dumps(arguments)
    identifier = call.get("id")
    return {
        "id": identifier if isinstance(identifier, str) and identifier else f"call_{place}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
