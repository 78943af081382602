"""Puts questions to a model through Oumi's engines, and records each answer as it comes."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Conversation, Message
from tqdm import tqdm

from coalm_oumi.errors import CoalmError
from coalm_oumi.journal import Journal
from coalm_oumi.jsontext import Json, dumps

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig
    from oumi.core.inference import BaseInferenceEngine

CHUNK = 256
"""How many questions an engine that schedules them itself (vLLM, an API) gets at a time."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the model.

    Attributes:
        key: Names the sample, and the turn and step within it where there are several.
        messages: The conversation so far.
        tools: The functions in OpenAI's form, for the chat template's own tool calling.
    """

    key: str
    messages: Sequence[Message]
    tools: Sequence[Json] | None = None

    def conversation(self) -> Conversation:
        """Returns Oumi's conversation."""
        return Conversation(
            conversation_id=self.key,
            messages=list(self.messages),
            tools=None if self.tools is None else list(self.tools),
        )


class RecordedModel:
    """A model whose raw answers are recorded, so that none is asked for or paid for twice.

    The record lies under `<output_dir>/raw`. Its name holds a hash of model, engine and generation
    parameters, and each answer stands under its sample and a hash of its prompt: where one of them
    changes, the question is asked again. A killed run goes on where it stopped.

    Example:
        >>> with RecordedModel(engine, config, "api_bank.l1") as model:
        ...     texts = model.ask(questions)
    """

    def __init__(
        self, engine: "BaseInferenceEngine", config: "EvaluationConfig", name: str
    ) -> None:
        """Opens the record.

        Args:
            engine: The engine that Oumi built from `config`.
            config: Names model, engine and generation parameters, and the output folder.
            name: Names the task.

        Raises:
            CoalmError: Another process writes this record.
        """
        made_by = _made_by(config)
        file = Path(config.output_dir) / "raw" / f"{name}.{_digest(made_by)}.jsonl"
        batch = config.generation.batch_size or 1
        self._engine = engine
        self._chunk = batch if config.inference_engine == "NATIVE" else max(batch, CHUNK)
        self._journal = Journal(file, made_by=made_by)

    def __enter__(self) -> "RecordedModel":
        """Returns the model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the record."""
        self._journal.close()

    def ask(self, questions: Sequence[Question], *, progress: bool = True) -> list[str]:
        """Returns an answer to each question, recorded before or generated now.

        Native tool calls come back as the JSON list of Figure 5. A question that the engine
        refuses for good, such as a prompt longer than the model's context, has an empty answer.

        Raises:
            CoalmError: The engine failed at some questions. The answers to the others are kept.
        """
        keys = [_key(question) for question in questions]
        open_ = [n for n, key in enumerate(keys) if key not in self._journal]
        # The native engine pads each batch to its longest prompt; with the longest first, memory
        # runs out at once or never.
        open_.sort(key=lambda n: sum(len(str(m.content)) for m in questions[n].messages))
        open_.reverse()
        done = len(keys) - len(open_)
        shown = progress and bool(open_)
        with tqdm(total=len(keys), initial=done, desc="answers", disable=not shown) as bar:
            for first in range(0, len(open_), self._chunk):
                chunk = open_[first : first + self._chunk]
                self._generate([(keys[n], questions[n]) for n in chunk])
                bar.update(len(chunk))
        return [self._journal.records[key]["text"] for key in keys]

    def _generate(self, chunk: Sequence[tuple[str, Question]]) -> None:
        found = self._engine.infer_partial([question.conversation() for _, question in chunk])
        for index, conversation in found.successful:
            key, question = chunk[index]
            if len(conversation.messages) <= len(question.messages):
                raise CoalmError(f"the inference engine gave no answer to {question.key}")
            self._journal.append(key, {"text": _text(conversation.messages[-1])})
        lost = []
        for index, failure in found.failures.items():
            if failure.is_retryable:
                lost.append(f"{chunk[index][1].key}: {failure.error_message}")
            else:
                refused = {"text": "", "refused": failure.error_message}
                self._journal.append(chunk[index][0], refused)
        if lost:
            raise CoalmError(
                f"the inference engine failed at {len(lost)} of {len(chunk)} questions, first at "
                f"{lost[0]}; the other answers are kept in {self._journal.path}: run the command "
                "again to go on"
            )


def _text(message: Message) -> str:
    if not message.tool_calls:
        return str(message.content or "")
    return dumps(
        [_call(call.function.name, call.function.arguments) for call in message.tool_calls]
    )


def _call(name: str, arguments: str) -> Json:
    """Writes a native call. Arguments that are not JSON stay the text that they are."""
    try:
        return {"name": name, "arguments": json.loads(arguments or "{}")}
    except ValueError:
        return {"name": name, "arguments": arguments}


def _key(question: Question) -> str:
    content = [question.tools, *(m.model_dump(mode="json") for m in question.messages)]
    return f"{question.key}#{_digest(content)}"


def _digest(value: Json) -> str:
    return hashlib.sha256(dumps(value).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _made_by(config: "EvaluationConfig") -> dict[str, Json]:
    """Says what the answers depend on besides the prompt."""
    model = _plain(dataclasses.asdict(config.model))
    folders = [config.model.model_name, config.model.adapter_model]
    remote = config.inference_remote_params
    return {
        "model": model,
        "weights": [_digest(_files(Path(f))) for f in folders if f and Path(f).is_dir()],
        "generation": _plain(dataclasses.asdict(config.generation)),
        "engine": str(config.inference_engine),
        "api_url": remote.api_url if remote else None,
    }


def _files(folder: Path) -> list[Json]:
    """Tells a model trained anew from one that lay in the same folder before."""
    found = ((file, file.stat()) for file in sorted(folder.iterdir()) if file.is_file())
    return [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in found]


def _plain(values: Mapping[str, Json]) -> dict[str, Json]:
    return json.loads(json.dumps(dict(values), default=str, sort_keys=True))
