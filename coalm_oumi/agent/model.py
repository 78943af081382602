"""Asks the model of a chat: Oumi's engine, or the same server with the answer as it comes."""

import os
from collections.abc import Callable
from typing import Any, Protocol

import openai
from oumi.builders.inference_engines import build_inference_engine
from oumi.core.configs import InferenceConfig
from oumi.core.configs.inference_engine_type import InferenceEngineType

from coalm_oumi.agent.turns import Prompt
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.llm.batches import generate
from coalm_oumi.llm.recorded import Question
from coalm_oumi.llm.text import native_call

OnText = Callable[[str], None]
"""Takes a piece of the answer as it comes."""

_STREAMING = (InferenceEngineType.REMOTE, InferenceEngineType.REMOTE_VLLM)
_MAX_CHARACTERS = 100_000


class ModelError(CoalmError):
    """The model gave no answer. The conversation can continue."""


class ChatModel(Protocol):
    """A model that answers a prompt."""

    def ask(self, prompt: Prompt, on_text: OnText) -> str:
        """Returns the answer. Native tool calls are the JSON list of Figure 5.

        Raises:
            ModelError: There is none.
        """
        ...


def build(config: InferenceConfig) -> ChatModel:
    """Builds what a recipe describes: streaming from an OpenAI-compatible server.

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
        engine = config.engine or InferenceEngineType.NATIVE
        try:
            self.engine = build_inference_engine(
                engine, config.model, config.remote_params, generation_params=config.generation
            )
        except Exception as error:  # engines raise errors of many libraries
            raise CoalmError(f"model {config.model.model_name}: {_one_line(error)}") from error

    def ask(self, prompt: Prompt, on_text: OnText) -> str:
        """Asks the engine."""
        question = Question("chat", prompt.messages, prompt.tools)
        (answer,) = generate(self.engine, [question.conversation()])
        if answer.text is None:
            raise ModelError(f"the model gave no answer: {' '.join(answer.error.split())[:400]}")
        on_text(answer.text)
        return answer.text


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

    def ask(self, prompt: Prompt, on_text: OnText) -> str:
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
            raise ModelError(f"the server {self._url}: {_one_line(error)}") from error
        return collected.text()


class _Collected:
    """The pieces of one answer."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._length = 0
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, delta: Any, on_text: OnText) -> None:
        for call in delta.tool_calls or ():
            record = self._calls.setdefault(call.index, {"name": "", "arguments": ""})
            if call.function is not None:
                record["name"] += call.function.name or ""
                record["arguments"] += call.function.arguments or ""
        piece = delta.content or ""
        self._length += len(piece)
        if self._length > _MAX_CHARACTERS:
            raise ModelError(f"the answer is longer than {_MAX_CHARACTERS:,} characters")
        if piece:
            self._content.append(piece)
            on_text(piece)

    def text(self) -> str:
        if not self._calls:
            return "".join(self._content)
        calls = [self._calls[index] for index in sorted(self._calls)]
        return dumps([native_call(call["name"], call["arguments"]) for call in calls])


def _record(message: Any) -> dict[str, Any]:
    record = message.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in record.items() if key != "id"}


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:400] if lines else type(error).__name__
