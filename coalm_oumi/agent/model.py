"""Asks the model of a chat: through Oumi's engine, or streamed from the same server."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import openai
from oumi.builders.inference_engines import build_inference_engine
from oumi.core.configs import InferenceConfig
from oumi.core.configs.inference_engine_type import InferenceEngineType
from oumi.core.inference import BaseInferenceEngine

from coalm_oumi.agent.turns import Prompt
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.core.wording import one_line
from coalm_oumi.llm.batches import generate
from coalm_oumi.llm.recorded import Question
from coalm_oumi.llm.text import native_call

OnText = Callable[[str], None]
"""Takes a piece of the answer as it comes."""

_STREAMING = (InferenceEngineType.REMOTE, InferenceEngineType.REMOTE_VLLM)
_MAX_CHARACTERS = 100_000
_MAX_ERROR = 400


class ModelError(CoalmError):
    """The model gave no answer. The conversation can continue."""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The answer of a model.

    Attributes:
        text: What it wrote. Native tool calls are the JSON list of Figure 5.
        thought: The reasoning that the server returned separately; empty if there is none.
    """

    text: str
    thought: str = ""


class ChatModel(Protocol):
    """A model that answers a prompt."""

    def ask(self, prompt: Prompt, on_text: OnText) -> ChatAnswer:
        """Returns the answer, and passes its text on as it arrives.

        A thought that the server returns separately is passed on with the label `Thought:`, and the
        text after it on a new line.

        Raises:
            ModelError: There is no answer.
        """
        ...

    def engine(self) -> BaseInferenceEngine:
        """Returns Oumi's engine of the same model, for environments that ask it."""
        ...


def build(config: InferenceConfig) -> ChatModel:
    """Builds the model of a recipe. From an OpenAI-compatible server, answers are streamed.

    Raises:
        CoalmError: The engine cannot be built, such as for a model that does not exist.
    """
    url = config.remote_params.api_url if config.remote_params else None
    if config.engine in _STREAMING and url:
        return StreamingModel(config, url)
    return EngineModel(config)


class EngineModel:
    """One of Oumi's engines. The answer comes in one piece."""

    def __init__(self, config: InferenceConfig) -> None:
        """Loads the model."""
        self._engine = _engine(config)

    def ask(self, prompt: Prompt, on_text: OnText) -> ChatAnswer:
        """Asks the engine."""
        question = Question("chat", prompt.messages, prompt.tools)
        try:
            (answer,) = generate(self._engine, [question.conversation()])
        except Exception as error:  # such as a chat template that refuses the messages
            raise ModelError(f"the model gave no answer: {one_line(error, _MAX_ERROR)}") from error
        if answer.text is None:
            raise ModelError(f"the model gave no answer: {one_line(answer.error, _MAX_ERROR)}")
        on_text(answer.text)
        return ChatAnswer(answer.text)

    def engine(self) -> BaseInferenceEngine:
        """Returns the engine."""
        return self._engine


def _engine(config: InferenceConfig) -> BaseInferenceEngine:
    engine = config.engine or InferenceEngineType.NATIVE
    try:
        return build_inference_engine(
            engine, config.model, config.remote_params, generation_params=config.generation
        )
    except Exception as error:  # engines raise errors of many libraries
        raise CoalmError(
            f"model {config.model.model_name}: {one_line(error, _MAX_ERROR)}"
        ) from error


class StreamingModel:
    """An OpenAI-compatible server, asked with Oumi's parameters."""

    def __init__(self, config: InferenceConfig, url: str) -> None:
        """Connects to nothing yet."""
        remote = config.remote_params
        assert remote is not None
        key = remote.api_key or os.environ.get(remote.api_key_env_varname or "OPENAI_API_KEY")
        self._config = config
        self._url = url
        self._client = openai.OpenAI(
            base_url=url.rstrip("/").removesuffix("/chat/completions"),
            api_key=key or "none",
            timeout=remote.connection_timeout,
            max_retries=min(remote.max_retries, 2),
        )

    def engine(self) -> BaseInferenceEngine:
        """Builds Oumi's engine for the same server."""
        return _engine(self._config)

    def ask(self, prompt: Prompt, on_text: OnText) -> ChatAnswer:
        """Asks the server."""
        generation = self._config.generation
        request: dict[str, Any] = {
            "model": self._config.model.model_name,
            "messages": [_record(message) for message in prompt.messages],
            "max_completion_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            "top_p": generation.top_p,
        }
        if generation.seed is not None:
            request["seed"] = generation.seed
        if generation.stop_strings:
            request["stop"] = generation.stop_strings
        if prompt.tools:
            request["tools"] = prompt.tools
        collected = _Collected()
        try:
            with self._client.chat.completions.create(**request, stream=True) as stream:
                for chunk in stream:
                    if chunk.choices:
                        collected.add(chunk.choices[0].delta, on_text)
        except openai.APIConnectionError as error:
            raise ModelError(f"the server {self._url} does not answer: {error}") from error
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(f"the server {self._url}: {one_line(error, _MAX_ERROR)}") from error
        answer = collected.answer()
        if collected.has_calls:
            on_text(f"\n{answer.text}" if answer.thought else answer.text)
        return answer


class _Collected:
    """The pieces of one answer."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._length = 0
        self._thought: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def add(self, delta: Any, on_text: OnText) -> None:
        for call in delta.tool_calls or ():
            record = self._calls.setdefault(call.index, {"name": "", "arguments": ""})
            if call.function is not None:
                name, arguments = call.function.name or "", call.function.arguments or ""
                record["name"] += name
                record["arguments"] += arguments
                self._count(len(name) + len(arguments))
            self._count(1)  # calls without a name are bounded too
        # vLLM calls it `reasoning`, others `reasoning_content`.
        thought = getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None)
        if isinstance(thought, str):
            self._count(len(thought))
            on_text(thought if self._thought else f"Thought: {thought}")
            self._thought.append(thought)
        piece = delta.content or ""
        self._count(len(piece))
        if piece:
            on_text(f"\nSystem: {piece}" if self._thought and not self._content else piece)
            self._content.append(piece)

    def _count(self, characters: int) -> None:
        self._length += characters
        if self._length > _MAX_CHARACTERS:
            raise ModelError(f"the answer is longer than {_MAX_CHARACTERS:,} characters")

    def answer(self) -> ChatAnswer:
        text, thought = "".join(self._content), "".join(self._thought).strip()
        if self._calls:
            calls = [self._calls[index] for index in sorted(self._calls)]
            text = dumps([native_call(call["name"], call["arguments"]) for call in calls])
        return ChatAnswer(text, thought)


def _record(message: Any) -> dict[str, Any]:
    record = message.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in record.items() if key != "id"}
