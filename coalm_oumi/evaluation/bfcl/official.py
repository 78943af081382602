"""`style: official`: the package's handler for a model writes prompts and reads answers."""

import contextlib
import difflib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Message, Role
from oumi.core.types.tool_call import FunctionCall as NativeFunction
from oumi.core.types.tool_call import ToolCall

from coalm_oumi.core import compat
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.evaluation.bfcl.client import BfclWorker
from coalm_oumi.formats import native
from coalm_oumi.formats.calls import CallError

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine


@dataclass(frozen=True, slots=True)
class Official:
    """The handler of a model of bfcl-eval's table.

    Attributes:
        model: The model's name in the table.
        text: Whether it sends one text, rather than messages of a chat API.
        tools: Whether the chat API gets the functions as tools.
        varies_prompt: Whether it writes BFCL's own prompt, which some categories vary.
        stop_token_ids: Tokens at which it stops, besides the model's end of text.
        keeps_special_tokens: Whether it reads the model's special tokens.
    """

    model: str
    text: bool
    tools: bool
    varies_prompt: bool
    stop_token_ids: Sequence[int] = ()
    keeps_special_tokens: bool = False

    name = "official"
    native = False

    @property
    def form(self) -> str:
        """The form of the answers: the worker takes the handler by the model's name."""
        return self.model

    @property
    def folder(self) -> str:
        """The folder of its result files, as the package names it."""
        return self.model.replace("/", "_")

    def messages(self, request: Json) -> list[Message]:
        """Returns what the engine gets: one message with the whole prompt, or a chat's messages."""
        if self.text:
            return [Message(role=Role.USER, content=request["prompt"])]
        return [_message(record) for record in request["messages"]]

    @staticmethod
    def official(answer: Json) -> Json:
        """Returns what the handler wrote into a result file, for its own decoder."""
        return answer

    def written(self, answer: str) -> Json:
        """Returns an answer as the handler's client would get it."""
        if self.text:
            return answer
        if not self.tools:
            return {"content": answer, "tool_calls": []}
        try:
            found = native.read_native(answer)
        except CallError:
            found = []
        tool_calls = [
            {"id": f"call{n:05}", "name": call.name, "arguments": dumps(dict(call.arguments))}
            for n, call in enumerate(found)
        ]
        return {"content": None if tool_calls else answer, "tool_calls": tool_calls}


def find(worker: BfclWorker, model: str | None, config: "EvaluationConfig") -> Official:
    """Returns the handler of a model of the table.

    Args:
        worker: Knows the table.
        model: The model's name there; None for the recipe's `model.model_name`.
        config: Oumi's.

    Raises:
        CoalmError: The table has no such model, or its handler cannot be used.
    """
    name = model or config.model.model_name
    known = worker.models()
    if name not in known:
        close = difflib.get_close_matches(name, known, 3) or ["uiuc-convai/CoALM-8B"]
        raise CoalmError(
            f"bfcl-eval's table has no model {name!r}: name the entry whose handler asks it, as "
            f"eval_kwargs.data.model (such as {', '.join(close)}), or use the style bfcl or native"
        )
    described = worker.describe(name)
    if "error" in described:
        raise CoalmError(
            f"bfcl-eval's entry {name} cannot be used: {described['error']}; name another entry as "
            "eval_kwargs.data.model, or use the style bfcl or native"
        )
    return Official(name, **described)


@contextlib.contextmanager
def prepared(
    official: Official, engine: "BaseInferenceEngine", config: "EvaluationConfig"
) -> Generator[None]:
    """Makes the engine send prompts unchanged, if the handler writes whole prompts.

    Raises:
        CoalmError: The engine cannot, or the recipe's stop tokens differ from the handler's.
    """
    wanted = list(official.stop_token_ids)
    if not set(wanted) <= set(config.generation.stop_token_ids or []):
        raise CoalmError(
            f"bfcl-eval stops {official.model} at certain tokens: set "
            f"generation.stop_token_ids: {wanted}"
        )
    if official.keeps_special_tokens and config.generation.skip_special_tokens:
        raise CoalmError(
            f"bfcl-eval reads the special tokens of {official.model}: set "
            "generation.skip_special_tokens: false"
        )
    if not official.text:
        yield
        return
    name = config.inference_engine
    with compat.whole_prompts(engine, name.value if name else "NATIVE"):
        yield


def _message(record: Json) -> Message:
    role = Role("system" if record["role"] == "developer" else record["role"])
    calls: Sequence[Json] = record.get("tool_calls") or []
    tool_calls = [
        ToolCall(id=call["id"], function=NativeFunction(**call["function"])) for call in calls
    ]
    return Message(
        role=role,
        content=record.get("content"),
        tool_calls=tool_calls or None,
        tool_call_id=record.get("tool_call_id"),
    )
