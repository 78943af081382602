# pyright: reportMissingImports=false
"""Runs in vLLM's environment: CoALM's parsers through the class that vLLM's server calls."""

import json
import sys
from types import SimpleNamespace

from vllm.reasoning.abs_reasoning_parsers import ReasoningParserManager
from vllm.tool_parsers.abstract_tool_parser import ToolParserManager

from coalm_oumi.formats import vllm_plugin

vllm_plugin.register()
EOS = 2
tokenizer = SimpleNamespace(eos_token_id=EOS, get_vocab=dict)
schema = {"type": "object", "properties": {"city": {}}, "required": ["city"]}
tool = SimpleNamespace(function=SimpleNamespace(name="find", parameters=schema))
request = SimpleNamespace(tools=[tool], tool_choice="auto")


def parse(text: str) -> dict:
    reasoning_parser = ReasoningParserManager.get_reasoning_parser("coalm")(tokenizer)
    tool_parser = ToolParserManager.get_tool_parser("coalm")(tokenizer)
    reasoning, rest = reasoning_parser.extract_reasoning(text, request)
    found = tool_parser.extract_tool_calls(rest or "", request)
    calls = [[call.function.name, call.function.arguments] for call in found.tool_calls]
    return {"reasoning": reasoning, "content": found.content, "calls": calls}


def stream(text: str) -> dict:
    reasoning_parser = ReasoningParserManager.get_reasoning_parser("coalm")(tokenizer)
    tool_parser = ToolParserManager.get_tool_parser("coalm")(tokenizer)
    reasoning, content, calls, rest = "", "", [], ""
    before = ""
    for at in range(0, len(text) + 3, 3):
        piece, ids = text[at : at + 3], [1]
        ended = reasoning_parser.is_reasoning_end_streaming([1], [1])
        if at + 3 >= len(text) + 3 or not piece:
            ids = [1, EOS]
        if not ended:
            delta = reasoning_parser.extract_reasoning_streaming(
                before, before + piece, piece, [], [], ids
            )
            before += piece
            reasoning += (delta and delta.reasoning) or ""
            if not reasoning_parser.is_reasoning_end_streaming([1], ids):
                continue
            piece = (delta and delta.content) or ""
        previous, rest = rest, rest + piece
        delta = tool_parser.extract_tool_calls_streaming(
            previous, rest, piece, [], [], ids, request
        )
        if delta is not None:
            content += delta.content or ""
            calls += [[call.function.name, call.function.arguments] for call in delta.tool_calls]
    return {"reasoning": reasoning or None, "content": content or None, "calls": calls}


json.dump([[parse(text), stream(text)] for text in json.load(sys.stdin)], sys.stdout)
