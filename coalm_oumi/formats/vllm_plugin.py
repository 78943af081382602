# pyright: standard, reportMissingImports=false
"""vLLM's tool parser and reasoning parser for CoALM. Imports vLLM, and of this package no Oumi.

Installed beside vLLM, the package registers both: `--tool-call-parser coalm --reasoning-parser
coalm`. Without it, give this file by `--tool-parser-plugin` and `--reasoning-parser-plugin`.

In a stream, the tool parser also takes the thought, because only it sees the request, and a request
without tools must be left unchanged.

Tested with vLLM 0.14, which Oumi's extra `gpu` installs, and with 0.32.
"""

import importlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from vllm.reasoning.abs_reasoning_parsers import ReasoningParser, ReasoningParserManager
from vllm.tool_parsers.abstract_tool_parser import (
    DeltaMessage,
    ExtractedToolCallInformation,
    ToolParser,
    ToolParserManager,
)

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.formats.served import (
    AnswerStream,
    ServedAnswer,
    ServedStream,
    read_answer,
    split_reasoning,
)

# The module of these classes has had a different name in nearly every release.
_protocol = importlib.import_module(DeltaMessage.__module__)


def register() -> None:
    """The entry point of `vllm.general_plugins`: importing this module registers the parsers."""


def _functions(tools: Iterable[Any] | None) -> list[Function]:
    functions = (getattr(tool, "function", tool) for tool in tools or ())
    return [
        Function.from_schema(function.name, "", getattr(function, "parameters", None) or {})
        for function in functions
    ]


@ToolParserManager.register_module("coalm")
class CoalmToolParser(ToolParser):
    """Reads `Action: f(a=1)` and Figure 5's JSON list as tool calls, and the rest as content.

    Attributes:
        skip_reasoning_parsing: vLLM sets it if the server has no reasoning parser. Thoughts then
            stay in the content.
    """

    # `tool_choice: required` would force JSON, which is not the form of CoALM's dialogues.
    supports_required_and_named = False
    # vLLM then takes the content of answers without calls from here, and calls `finish_streaming`.
    engine_based_streaming = True

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        """Starts before an answer."""
        super().__init__(tokenizer)
        self.skip_reasoning_parsing = False
        self._end = getattr(tokenizer, "eos_token_id", None)
        self._stream: ServedStream | AnswerStream | None = None
        self._text = ""

    def adjust_request(self, request: Any) -> Any:
        """Treats a call that the client requires as optional."""
        if request.tools and request.tool_choice != "none":
            request.tool_choice = "auto"
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """Reads a whole answer without its thought."""
        answer = ServedAnswer(None, model_output)
        if request.tools:
            may_call = request.tool_choice != "none"
            answer = read_answer(model_output, _functions(request.tools), may_call=may_call)
        calls: list[Any] = []
        for call in answer.calls:
            arguments = dumps(dict(call.arguments))
            function = _protocol.FunctionCall(name=call.name, arguments=arguments)
            calls.append(_protocol.ToolCall(type="function", function=function))
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
        """Reads the next piece of an answer; returns the parts of it that are certain."""
        if not request.tools:
            return DeltaMessage(content=delta_text) if delta_text else None
        if self._stream is None:
            stream = AnswerStream if self.skip_reasoning_parsing else ServedStream
            may_call = request.tool_choice != "none"
            self._stream = stream(_functions(request.tools), may_call=may_call)
        self._text += delta_text
        # vLLM 0.14 has no other sign that nothing follows.
        return self._delta(is_last=self._end is not None and self._end in delta_token_ids)

    def finish_streaming(self) -> DeltaMessage | None:
        """Returns what was held back until the end."""
        return self._delta(is_last=True)

    def _delta(self, *, is_last: bool) -> DeltaMessage | None:
        if self._stream is None:
            return None
        answer = self._stream.add(self._text, is_last=is_last)
        if answer.calls:
            # vLLM 0.14 reads these to see that calls were made and what is left to stream: nothing.
            self.prev_tool_call_arr = [call.as_record() for call in answer.calls]
            self.streamed_args_for_tool = [dumps(dict(call.arguments)) for call in answer.calls]
            calls: list[Any] = []
            for index, call in enumerate(answer.calls):
                calls += _call_deltas(index, call.name, self.streamed_args_for_tool[index])
            return DeltaMessage(
                reasoning=answer.reasoning, content=answer.content, tool_calls=calls
            )
        if answer.reasoning or answer.content:
            return DeltaMessage(reasoning=answer.reasoning, content=answer.content)
        return None


def _call_deltas(index: int, name: str, arguments: str) -> list[Any]:
    """Writes a call as its name and then its arguments.

    If both came at once in the last piece of a stream, vLLM 0.14 would keep only one call.
    """
    return [
        _protocol.DeltaToolCall(
            index=index,
            id=f"call_{uuid.uuid4().hex[:24]}",
            type="function",
            function=_protocol.DeltaFunctionCall(name=name),
        ),
        _protocol.DeltaToolCall(
            index=index, function=_protocol.DeltaFunctionCall(arguments=arguments)
        ),
    ]


@ReasoningParserManager.register_module("coalm")
class CoalmReasoningParser(ReasoningParser):
    """Reads `Thought:` of a whole answer as the reasoning.

    A request without tools is left unchanged, because a benchmark's own prompt asked for this text,
    and the benchmark reads the thoughts.
    """

    engine_based_streaming = True

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Returns True: streams go to the tool parser, and a schema holds from the first token."""
        return True

    def has_engine_confirmed_reasoning_end(self) -> bool:
        """Returns True."""
        return True

    def finish_streaming(self) -> None:
        """Returns nothing: nothing is held back here."""

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """Returns the tokens after the thought: all, as far as this parser sees a stream."""
        return input_ids

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """Splits a whole answer into the thought and the calls or the words.

        The words are read already here: vLLM 0.14 shows what this returns if there is no call.
        """
        if not request.tools:
            return None, model_output
        reasoning, rest = split_reasoning(model_output)
        answer = read_answer(rest, _functions(request.tools))
        return reasoning, (rest if answer.calls else answer.content) or None

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> DeltaMessage | None:
        """Returns the text unchanged: vLLM 0.14 calls this only for requests without tools."""
        return DeltaMessage(content=delta_text)
