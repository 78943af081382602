"""Writes prompts and reads answers with the package's own handler for a model.

The handler gets a client that records requests instead of sending them. So the prompt is the
handler's, byte for byte, without the model's weights or tokenizer.
"""

# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

import copy
import importlib
import inspect
import os
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import model_table
import patches
from bfcl_eval.model_handler.base_handler import BaseHandler
from bfcl_eval.model_handler.local_inference.base_oss_handler import OSSHandler

_HUGE = 10**9


class _SentInsteadError(Exception):
    """The request that a handler would send."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__("sent")
        self.request = request


class _Client:
    """Replaces OpenAI's client, for chats and for completions."""

    def __init__(self) -> None:
        self.completions = SimpleNamespace(create=self._send)
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._send))

    @staticmethod
    def _send(**request: Any) -> None:
        raise _SentInsteadError(request)


class _Message(dict):
    """An assistant's message of a chat API: handlers read its fields as attributes."""

    __getattr__ = dict.get


def models() -> list[str]:
    """Returns the names of the package's table."""
    return list(model_table.entries())


def describe(model: str) -> dict[str, Any]:
    """Returns whether a model of the table gets one text, and whether it gets tools.

    Returns:
        The fields of the parent's `Official`, or the `error` that says why its handler cannot be
        used here.
    """
    try:
        found = handler(model)
    except Exception as error:  # a vendor's client needs keys, or is not installed
        return {"error": f"its handler cannot be built here: {error!r}"}
    if isinstance(found, OSSHandler):
        if "self.tokenizer" in inspect.getsource(type(found)):
            return {"error": "its handler renders prompts with the model's tokenizer"}
        special = getattr(found, "skip_special_tokens", True)
        return {
            "text": True,
            "tools": False,
            "varies_prompt": not _is_fc_entry(model),
            "stop_token_ids": list(getattr(found, "stop_token_ids", ())),
            "keeps_special_tokens": not special,
        }
    if "chat.completions.create" not in _source_of_asking(found):
        return {"error": "its handler asks through an API that Oumi's engines do not offer"}
    return {"text": False, "tools": _is_fc(found), "varies_prompt": not _is_fc(found)}


def _is_fc_entry(model: str) -> bool:
    entry = model_table.entries()[model]
    return "FC" in model or entry.is_fc_model


def _source_of_asking(found: Any) -> str:
    for class_ in type(found).__mro__:
        if "generate_with_backoff" in vars(class_):
            return inspect.getsource(class_)
    return ""


@cache
def handler(model: str) -> Any:
    """Returns the handler of a model of the table, with a client that sends nothing."""
    entry = model_table.entries()[model]
    os.environ.setdefault("OPENAI_API_KEY", "unused")  # required by a client that is not used
    class_ = entry.handler_class()
    for base in class_.__mro__:  # some call `eval` on the text of a model
        if base.__module__.startswith("bfcl_eval."):
            patches.without_eval(sys.modules[base.__module__])
    parameters = inspect.signature(BaseHandler.__init__).parameters
    more = {"registry_name": model, "is_fc_model": entry.is_fc_model}
    known = {name: value for name, value in more.items() if name in parameters}
    name = entry.model_name if known else model
    found = class_(model_name=name, temperature=0.001, **known)
    found.client = _Client()
    # It counts no tokens: how many are left is for the engine to know.
    found.tokenizer = SimpleNamespace(tokenize=lambda text: [])
    found.max_context_length = _HUGE
    return found


def _is_fc(found: Any) -> bool:
    """Returns True if `BaseHandler.inference` uses its branch for tools."""
    if isinstance(found, OSSHandler):
        return False
    name = getattr(found, "registry_name", found.model_name)
    return "FC" in name or found.is_fc_model


class _Talk:
    """One conversation as the handler sees it: `inference_multi_turn_*` step by step."""

    def __init__(self, model: str, entry: dict[str, Any]) -> None:
        self.handler = handler(model)
        self.entry = copy.deepcopy(entry)
        self.added = self.entry.get("missed_function", {})
        self.fc = _is_fc(self.handler)
        if self.fc:
            self.data = self.handler._pre_query_processing_FC({}, self.entry)
            self.data = self.handler._compile_tools(self.data, self.entry)
        else:
            self.data = self.handler._pre_query_processing_prompting(self.entry)
        self._parsed: dict[str, Any] = {}
        first = self.entry["question"][0]
        self.data = self._method("add_first_turn_message")(self.data, first)

    def request(self) -> dict[str, Any]:
        """Returns the next request."""
        try:
            self._method("_query")(self.data)
        except _SentInsteadError as sent:
            return _plain_request(sent.request)
        raise RuntimeError("the handler sent nothing")

    def hear(self, answer: Any) -> dict[str, Any]:
        """Takes an answer: a text, or `{content, tool_calls}` of a chat API.

        Returns:
            `result`, as the package's result files hold it, and `calls`, None if it has none.
        """
        self._parsed = parse(self.handler, answer)
        result = self._parsed["model_responses"]
        self.data = self._method("_add_assistant_message")(self.data, self._parsed)
        calls = decode_execute(self.handler, result)
        self._parsed["model_responses_decoded"] = calls
        return {"result": result, "calls": calls or None}

    def tell(self, results: list[str]) -> None:
        """Takes the results of the last answer's calls."""
        self.data = self._method("_add_execution_results")(self.data, results, self._parsed)

    def next_turn(self, turn: int) -> None:
        """Goes to a later turn of the user."""
        message = self.entry["question"][turn]
        if added := self.added.get(str(turn)):
            prompts = importlib.import_module("bfcl_eval.constants.default_prompts")
            if self.fc:
                self.entry["function"].extend(added)
                self.data = self.handler._compile_tools(self.data, self.entry)
                text = prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC
            else:
                form = prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING
                text = form.format(functions=added)
            message = [{"role": "user", "content": text}]
        self.data = self._method("_add_next_turn_user_message")(self.data, message)

    def _method(self, name: str) -> Any:
        return getattr(self.handler, f"{name}_{'FC' if self.fc else 'prompting'}")


def _plain_request(sent: dict[str, Any]) -> dict[str, Any]:
    if "prompt" in sent:
        return {"prompt": sent["prompt"]}
    return {"messages": copy.deepcopy(sent["messages"]), "tools": sent.get("tools")}


def parse(found: Any, answer: Any) -> dict[str, Any]:
    """Returns the handler's reading of an answer, before it decodes the calls."""
    usage = SimpleNamespace(prompt_tokens=0, completion_tokens=0)
    if isinstance(found, OSSHandler):
        response = SimpleNamespace(choices=[SimpleNamespace(text=answer)], usage=usage)
        try:
            return found._parse_query_response_prompting(response)
        except Exception as error:  # the package records this, and judges it as wrong
            said = f"Error during inference: {error}"
            return {
                "model_responses": said,
                "model_responses_message_for_chat_history": said,
                "tool_call_ids": [],
            }
    tool_calls = [
        _Message(
            id=call["id"],
            type="function",
            function=_Message(name=call["name"], arguments=call["arguments"]),
        )
        for call in answer["tool_calls"]
    ]
    message = _Message(role="assistant", content=answer["content"])
    if tool_calls:
        message["tool_calls"] = tool_calls
    response = SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=usage)
    if _is_fc(found):
        return found._parse_query_response_FC(response)
    return found._parse_query_response_prompting(response)


def decode_execute(found: Any, result: Any) -> list[str] | None:
    """Returns the calls that a result holds, None if the decoder reads none."""
    more = {}
    if "has_tool_call_tag" in inspect.signature(found.decode_execute).parameters:
        more["has_tool_call_tag"] = False
    try:
        calls = found.decode_execute(result, **more)
    except Exception:  # the package takes any exception for a message
        return None
    if not isinstance(calls, list) or not all(isinstance(call, str) for call in calls):
        return None
    return calls


_talks: dict[tuple[str, str, int], _Talk] = {}


def ask(
    model: str, entries: list[dict[str, Any]], places: list[tuple[str, int]]
) -> list[dict[str, Any]]:
    """Returns the first request of each sample, and keeps its conversation."""
    requests = []
    for entry, (category, index) in zip(entries, places, strict=True):
        talk = _Talk(model, entry)
        _talks[model, category, index] = talk
        requests.append(talk.request())
    return requests


def step(model: str, steps: list[dict[str, Any]]) -> list[Any]:
    """Takes steps of conversations: answers, results of calls, or the place of the next turn."""
    replies: list[Any] = []
    for one in steps:
        talk = _talks[model, one["category"], one["index"]]
        if "answer" in one:
            replies.append(talk.hear(one["answer"]))
            continue
        if "results" in one:
            talk.tell(one["results"])
        else:
            talk.next_turn(one["turn"])
        replies.append(talk.request())
    return replies
