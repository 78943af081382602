"""Workarounds for behaviour of Oumi that has no hook; no other module has any.

Each function names the behaviour that it works around. Oumi is imported inside the functions,
because Oumi loads this package during its own imports.
"""
# pyright: standard, reportPrivateUsage=false

import atexit
import contextlib
import dataclasses
import functools
import gc
import inspect
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.core.wording import printable

if TYPE_CHECKING:
    import datasets
    from oumi.core.configs import BaseConfig
    from oumi.core.datasets import BaseSftDataset
    from oumi.core.types.conversation import Conversation
    from oumi.inference import RemoteInferenceEngine

_P = ParamSpec("_P")
_R = TypeVar("_R")


def reported_by_oumi(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes the `oumi` commands print a `CoalmError` as one line, and end at once after Ctrl-C.

    Oumi prints its own `OumiConfigError` on one line, and every other exception with a traceback.
    Decorate all that Oumi calls: dataset classes, evaluation functions, rewards.
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except CoalmError as error:
            raise _reported(error) from error
        except KeyboardInterrupt:
            _end_quickly()
            raise

    return wrapper


def finalize(config: "BaseConfig") -> None:
    """Checks a configuration as the `oumi` command does.

    Oumi looks on the Hub for an adapter with the model's name, even if a server has the model.
    Without a network, the Hub's client then raises a bare RuntimeError, which Oumi should catch as
    it catches OSError.

    Raises:
        CoalmError: The Hub cannot be reached.
        Exception: Any error that Oumi raises.
    """
    try:
        config.finalize_and_validate()
    except RuntimeError as error:
        if "client has been closed" not in str(error):
            raise
        raise CoalmError(
            "Oumi looks for the model on the Hugging Face Hub, which cannot be reached; check the "
            "network, or `export HF_HUB_OFFLINE=1` to use what is on this machine"
        ) from error


@functools.cache
def _end_quickly() -> None:
    """Skips Python's last garbage collection, so that this process exits at once.

    The collection would go through all objects of the 7,000 modules that Oumi imports. That takes
    seconds, during which Ctrl-C has no effect.
    """
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    atexit.register(gc.freeze)


def _reported(error: CoalmError) -> CoalmError:
    if isinstance(error, _reported_class()):
        return error
    return _reported_class()(str(error))


@functools.cache
def _reported_class() -> type[CoalmError]:
    from oumi.exceptions import OumiConfigError

    class ReportedError(CoalmError, OumiConfigError):
        """A `CoalmError` that is also one of Oumi's configuration errors."""

        def __format__(self, spec: str) -> str:
            """Escapes the error for Oumi, which formats it into a text that Rich reads as markup.

            Rich drops `[memory, live]` from a text, and raises an error at `[/memory]`.
            """
            from rich.markup import escape

            return escape(printable(self))

    return ReportedError


@functools.cache
def name_files_that_oumi_cannot_write() -> None:
    """Makes Oumi's evaluator name the result file that it cannot write, such as on a full disk.

    Oumi 0.9 ends with a traceback that names no file. Remove this when Oumi's `_save_to_file`
    raises an error that names the file.
    """
    from oumi.core.evaluation.utils import save_utils

    save = save_utils._save_to_file

    @reported_by_oumi
    def save_or_name(output_path: Path, data: Any) -> None:
        try:
            save(output_path, data)
        except OSError as error:
            raise WriteError(output_path, error) from error

    save_utils._save_to_file = save_or_name


@functools.cache
def sft_dataset_options() -> frozenset[str]:
    """Returns the keyword arguments that Oumi's SFT datasets take.

    Oumi ignores unknown ones and mentions them only in its debug log. Its options to mask the
    prompt are left out, because our datasets mask it themselves.
    """
    from oumi.core.datasets import BaseSftDataset

    names: set[str] = set()
    for parent in BaseSftDataset.__mro__:
        if parent.__module__.startswith("oumi."):
            parameters = inspect.signature(parent.__init__).parameters.values()
            names |= {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    masks = {"assistant_only", "response_template", "instruction_template"}
    return frozenset(names - masks)


def transform_workers(dataset: "BaseSftDataset") -> int:
    """Returns the number of processes that transform a dataset: `auto` is resolved privately."""
    return dataset._compute_effective_transform_num_workers()


def fingerprint(dataset: "datasets.Dataset") -> str:
    """Returns the hash that `datasets` keeps of how a dataset was made, privately."""
    return dataset._fingerprint


def native_model(engine: Any) -> tuple[Any, Any] | None:
    """Returns the model and tokenizer of Oumi's native engine, or None for another engine.

    Oumi's engines generate and compute no likelihood. The native one holds a model of Transformers
    that can, privately.
    """
    from oumi.inference import NativeTextInferenceEngine

    if not isinstance(engine, NativeTextInferenceEngine):
        return None
    return engine._model, engine._tokenizer


def replace_sft_trainer(config: type, trainer: type) -> None:
    """Makes Oumi's trainer type `TRL_SFT` build our subclass of TRL's SFT trainer.

    Oumi takes the class by name from TRL and has no registry of trainers. Neither library lets a
    recipe pass `autocast_adapter_dtype` to peft or leave out TRL's metrics. Remove this when Oumi
    looks up `training.trainer_type` in its registry.

    Args:
        config: The subclass of `trl.SFTConfig`.
        trainer: The subclass of `trl.SFTTrainer`.
    """
    import trl

    setattr(trl, "SFTConfig", config)  # noqa: B010 - TRL resolves these names lazily
    setattr(trl, "SFTTrainer", trainer)  # noqa: B010


def semaphore_of(engine: "RemoteInferenceEngine") -> Any:
    """Returns the semaphore with which Oumi bounds concurrent requests, for one event loop."""
    from oumi.inference.adaptive_semaphore import PoliteAdaptiveSemaphore

    params = engine._remote_params
    return PoliteAdaptiveSemaphore(
        capacity=params.num_workers, politeness_policy=params.politeness_policy
    )


def most_at_once(engine: "RemoteInferenceEngine") -> int:
    """Returns how many requests Oumi sends at the same time."""
    return engine._remote_params.num_workers


async def query_remote(
    engine: "RemoteInferenceEngine",
    conversation: "Conversation",
    semaphore: Any,
    session: Any,
    max_new_tokens: int | None = None,
) -> "Conversation":
    """Asks one question through Oumi's remote engine.

    Oumi 0.9 offers only whole batches, which return when their slowest question is answered. It
    also appends each answer to a scratch file. On a full disk it counts the failed write as a fault
    of the server, lowers its concurrency and pays for the answer again. Here nothing is written.

    Args:
        engine: Oumi's.
        conversation: The question.
        semaphore: From `semaphore_of`.
        session: The session that posts requests, such as an `aiohttp.ClientSession`.
        max_new_tokens: Overrides the recipe's.

    Returns:
        The conversation with the answer.
    """
    from oumi.core.configs import InferenceConfig

    shorter = None
    if max_new_tokens is not None:
        generation = dataclasses.replace(engine._generation_params, max_new_tokens=max_new_tokens)
        shorter = InferenceConfig(model=engine._model_params, generation=generation)
    engine._save_conversation_to_scratch = _save_nothing  # pyright: ignore[reportAttributeAccessIssue]
    return await engine._query_api(conversation, semaphore, session, shorter)


def _save_nothing(conversation: "Conversation", output_filepath: str | None) -> None:
    """Takes the place of Oumi's scratch file."""


def models_request(engine: "RemoteInferenceEngine") -> tuple[str, dict[str, str]]:
    """Returns the address of a server's model list, and the headers of a request for it."""
    params = engine._remote_params
    url = params.api_url or ""
    if url.endswith("/chat/completions"):
        url = url.removesuffix("/chat/completions") + "/models"
    elif url:
        url = engine.get_models_api_url()
    return url, engine._get_request_headers(params)


def tokenizers_of(engine: Any) -> list[Any]:
    """Returns the tokenizers that an engine in this process renders chats with, held privately.

    Empty for an engine that asks a server.
    """
    own = getattr(engine, "_tokenizer", None)
    model = getattr(engine, "_llm", None)  # vLLM renders with another tokenizer
    tokenizers = [own, model.get_tokenizer() if model is not None else None]
    return [tokenizer for tokenizer in tokenizers if tokenizer is not None]


_WHOLE_PROMPT = "{{ messages[0]['content'] }}"


@contextlib.contextmanager
def whole_prompts(engine: Any, name: str) -> Generator[None]:
    """Makes an inference engine send a conversation's only message as the whole prompt.

    Oumi's engines know only chats. A local engine gets a chat template that passes the text on. A
    server is asked through its completions API, beside the chat API that Oumi uses.

    Args:
        engine: Oumi's.
        name: The engine's name in the recipe.

    Raises:
        CoalmError: The engine has neither a tokenizer nor an OpenAI-compatible server.
    """
    from oumi.inference import RemoteInferenceEngine

    if isinstance(engine, RemoteInferenceEngine):
        with _completions(engine, name):
            yield
        return
    found = tokenizers_of(engine)
    if not found:
        raise CoalmError(f"{name} takes no whole prompts; use NATIVE, VLLM or REMOTE_VLLM")
    before = [tokenizer.chat_template for tokenizer in found]
    try:
        for tokenizer in found:
            tokenizer.chat_template = _WHOLE_PROMPT
        yield
    finally:
        for tokenizer, template in zip(found, before, strict=True):
            tokenizer.chat_template = template


@contextlib.contextmanager
def _completions(engine: Any, name: str) -> Generator[None]:
    """Turns a remote engine's requests into those of the completions API."""
    if name.rsplit(".", 1)[-1] not in ("REMOTE", "REMOTE_VLLM", "SGLANG", "TOGETHER", "FIREWORKS"):
        raise CoalmError(
            f"{name} takes no whole prompts; use NATIVE, VLLM or REMOTE_VLLM, or another style"
        )
    to_request = engine._convert_conversation_to_api_input
    to_conversation = engine._convert_api_output_to_conversation
    fill_in = engine._set_required_fields_for_inference

    def request(conversation: Any, *parameters: Any, **named: Any) -> dict[str, Any]:
        body = to_request(conversation, *parameters, **named)
        del body["messages"]
        if "max_completion_tokens" in body:  # vLLM's engine has renamed it already
            body["max_tokens"] = body.pop("max_completion_tokens")
        return {**body, "prompt": conversation.messages[0].content}

    def conversation(response: Any, original: Any) -> Any:
        choices: Any = response.get("choices") if isinstance(response, dict) else None
        if choices and isinstance(choices[0], dict) and isinstance(choices[0].get("text"), str):
            message = {"role": "assistant", "content": choices[0]["text"]}
            response = {**response, "choices": [{**choices[0], "message": message}]}
        return to_conversation(response, original)

    def address(parameters: Any) -> None:
        fill_in(parameters)
        parameters.api_url = parameters.api_url.replace("/chat/completions", "/completions")

    ours = {
        "_convert_conversation_to_api_input": request,
        "_convert_api_output_to_conversation": conversation,
        "_set_required_fields_for_inference": address,
    }
    url = engine._remote_params.api_url
    address(engine._remote_params)
    try:
        for attribute, function in ours.items():  # in front of the methods of the class
            setattr(engine, attribute, function)
        yield
    finally:
        for attribute in ours:
            delattr(engine, attribute)
        engine._remote_params.api_url = url
