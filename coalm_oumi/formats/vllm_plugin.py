# pyright: reportMissingImports=false
"""vLLM's tool parser and reasoning parser for CoALM. Imports vLLM, and of this package no Oumi.

Installed beside vLLM, the package registers both: `--tool-call-parser coalm --reasoning-parser
coalm`. Without it, give this file by `--tool-parser-plugin` and `--reasoning-parser-plugin`.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.reasoning.abs_reasoning_parsers import ReasoningParser, ReasoningParserManager
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.formats.served import AnswerStream, ReasoningStream, read_answer, split_reasoning


def register() -> None:
    """Is the entry point of `vllm.general_plugins`: importing this module registers the parsers."""


def _functions(tools: Iterable[Any] | None) -> list[Function]:
    found = []
    for tool in tools or ():
        function = getattr(tool, "function", tool)
        schema = getattr(function, "parameters", None) or {}
        required = tuple(schema.get("required", ()))
        optional = {name: None for name in schema.get("properties", {}) if name not in required}
        found.append(Function(function.name, "", required=required, optional=optional))
    return found


@ToolParserManager.register_module("coalm")
class CoalmToolParser(ToolParser):
    """Reads `Action: f(a=1)` and Figure 5's JSON list as tool calls, and the rest as content."""

    # `tool_choice: required` would force JSON, which is not the form of CoALM's dialogues.
    supports_required_and_named = False

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        """Starts before an answer."""
        super().__init__(tokenizer, tools)
        self._stream: AnswerStream | None = None

    def adjust_request(self, request: Any) -> Any:
        """Leaves the request as it is: nothing is decoded under a grammar."""
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """Reads a whole answer."""
        answer = read_answer(model_output, _functions(request.tools))
        calls = [
            ToolCall(
                type="function",
                function=FunctionCall(name=call.name, arguments=dumps(dict(call.arguments))),
            )
            for call in answer.calls
        ]
        return ExtractedToolCallInformation(
            tools_called=bool(calls), tool_calls=calls, content=answer.content
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """Reads the answer so far; returns what is new in it."""
        if self._stream is None or not previous_text:
            self._stream = self._stream or AnswerStream(_functions(request.tools))
        end = getattr(self.model_tokenizer, "eos_token_id", None)
        is_last = end is not None and end in delta_token_ids
        answer = self._stream.add(current_text, is_last=is_last)
        calls = [
            DeltaToolCall(
                index=index,
                id=f"call_{uuid.uuid4().hex[:24]}",
                type="function",
                function=DeltaFunctionCall(name=call.name, arguments=dumps(dict(call.arguments))),
            )
            for index, call in enumerate(answer.calls)
        ]
        if calls:
            # vLLM reads these to see that calls were made and what is left to stream: nothing.
            self.prev_tool_call_arr = [
                {"name": call.name, "arguments": dict(call.arguments)} for call in answer.calls
            ]
            self.streamed_args_for_tool = [dumps(dict(call.arguments)) for call in answer.calls]
            self.current_tool_id = len(calls) - 1
            return DeltaMessage(content=answer.content, tool_calls=calls)
        return DeltaMessage(content=answer.content) if answer.content else None


@ReasoningParserManager.register_module("coalm")
class CoalmReasoningParser(ReasoningParser):
    """Reads `Thought:` as the reasoning. A request without tools is left as it is.

    Without tools, the text is what a benchmark's own prompt asked for, and it reads the thoughts.
    """

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        """Starts before an answer."""
        super().__init__(tokenizer, *args, **kwargs)
        self._stream = ReasoningStream()
        self._has_tools = True

    def adjust_request(self, request: Any) -> Any:
        """Notes whether the request has tools."""
        self._has_tools = bool(request.tools)
        return request

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Returns True if a stream's thought has ended. In a prompt, none has begun."""
        return self._stream.ended

    def is_reasoning_end_streaming(
        self, input_ids: Sequence[int], delta_ids: Iterable[int]
    ) -> bool:
        """Returns True once the thought has ended."""
        return self._stream.ended

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """Returns the tokens after the thought: those of the last piece, as far as is known."""
        return input_ids

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """Splits a whole answer."""
        if not request.tools:
            return None, model_output
        reasoning, rest = split_reasoning(model_output)
        return reasoning, rest or None

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> DeltaMessage | None:
        """Splits the answer so far; returns what is new in it."""
        if not self._has_tools:
            self._stream.ended = True
            return DeltaMessage(content=current_text)
        piece = self._stream.add(current_text)
        if not piece.reasoning and not piece.rest:
            return None
        return DeltaMessage(reasoning=piece.reasoning or None, content=piece.rest or None)
