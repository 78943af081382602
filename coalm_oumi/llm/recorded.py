"""Puts questions to a model through Oumi's engines, and records each answer as it comes."""

import copy
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from oumi.core.types.conversation import Conversation, Message, Role
from oumi.utils.logging import logger
from tqdm import tqdm

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.core.usage import Usage
from coalm_oumi.files.journal import Journal

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig, InferenceConfig
    from oumi.core.inference import BaseInferenceEngine
    from oumi.core.inference.base_inference_engine import FailureDetail, InferenceResult

CHUNK = 256
"""How many questions an engine that schedules them itself (vLLM, an API) gets at a time."""

_TOO_LONG = re.compile(
    r"too long|too many tokens|(?:model|context)[ _]length|context window|max_model_len",
    re.IGNORECASE,
)
_REFUSALS = (400, 413, 422)

_RECORD = "coalm_record"
"""Under this name Oumi's conversations carry the key of their answer's record."""

_FEW = 3
"""So many questions may all fail for unrelated reasons."""


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
            metadata={_RECORD: _key(self)},
        )


class Cause(Enum):
    """Why a question has no answer."""

    TOO_LONG = "longer than the model's context"
    REFUSED = "refused for what it says"
    BROKEN = "the engine broke at it"
    UNASKED = "nothing can be asked: no connection, no access, no such model, a busy server"


@dataclass(frozen=True, slots=True)
class Generated:
    """What the model wrote, or why it did not.

    Attributes:
        text: The text, None if there is none. Native tool calls are the JSON list of Figure 5.
        usage: Its tokens, as far as the engine counts them.
        cause: Why there is no text.
        error: The same in the engine's words.
        is_cut: True if the engine says that the text reached `max_new_tokens`.
    """

    text: str | None
    usage: Usage = field(default_factory=Usage)
    cause: Cause | None = None
    error: str = ""
    is_cut: bool = False


def generate(
    engine: "BaseInferenceEngine",
    questions: Sequence[Question],
    engine_config: "InferenceConfig | None" = None,
) -> list[Generated]:
    """Asks one of Oumi's inference engines, all at once.

    An engine that answers a batch as a whole also fails as a whole: then each half is asked alone,
    so that one question that breaks it (too long for the model) does not break the others.

    Args:
        engine: Oumi's.
        questions: What to ask.
        engine_config: What the engine was built from, with the file that it writes answers to as
            they come; None for no such file.
    """
    found = engine.infer_partial([question.conversation() for question in questions], engine_config)
    answers = [_failed(found.failures.get(index)) for index in range(len(questions))]
    for index, conversation in found.successful:
        answers[index] = _answered(conversation) or answers[index]
    if len(questions) > 1 and _failed_whole(found):
        half = len(questions) // 2
        halves = questions[:half], questions[half:]
        return [answer for part in halves for answer in generate(engine, part, engine_config)]
    return answers


def _answered(conversation: Conversation) -> Generated | None:
    if conversation.messages[-1].role != Role.ASSISTANT:
        return None
    counted = conversation.metadata.get("usage") or {}
    usage = Usage(counted.get("prompt_tokens", 0), counted.get("completion_tokens", 0))
    is_cut = conversation.metadata.get("finish_reason") == "length"
    return Generated(_text(conversation.messages[-1]), usage, is_cut=is_cut)


def _failed_whole(found: "InferenceResult") -> bool:
    from oumi.core.inference.base_inference_engine import InferenceErrorType

    broke = InferenceErrorType.ENGINE_FAILURE
    return not found.successful and all(d.error_type is broke for d in found.failures.values())


def _failed(detail: "FailureDetail | None") -> Generated:
    from oumi.core.inference.base_inference_engine import InferenceErrorType

    if detail is None:
        return Generated(None, cause=Cause.BROKEN, error="the inference engine gave no answer")
    if _TOO_LONG.search(detail.error_message) and (detail.status_code or 400) in _REFUSALS:
        cause = Cause.TOO_LONG
    elif detail.status_code in _REFUSALS and not detail.is_retryable:
        cause = Cause.REFUSED
    elif detail.error_type in (
        # Oumi's remote engine reports a connection that failed to the last try as RUNTIME.
        InferenceErrorType.API_STATUS,
        InferenceErrorType.CONNECTION,
        InferenceErrorType.RUNTIME,
        InferenceErrorType.CONFIG,
    ):
        cause = Cause.UNASKED
    else:
        cause = Cause.BROKEN
    return Generated(None, cause=cause, error=detail.error_message)


def is_hopeless(answers: Sequence[Generated]) -> bool:
    """Returns True if no further question could be answered, whatever it asks."""
    causes = {answer.cause for answer in answers}
    if not causes or None in causes:
        return False
    return causes == {Cause.UNASKED} or (len(answers) > _FEW and Cause.TOO_LONG not in causes)


class RecordedModel:
    """A model whose raw answers are recorded, so that none is asked for or paid for twice.

    The record lies under `<output_dir>/raw`. Its name holds a hash of model, engine and generation
    parameters, and each answer stands under its sample and a hash of its prompt: where one of them
    changes, the question is asked again. A killed run resumes, and takes over
    the single answers that had come from an API by then.

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
        depends_on = made_by(config)
        file = Path(config.output_dir) / "raw" / f"{name}.{digest(depends_on)}.jsonl"
        self._incoming = file.with_suffix(".incoming.jsonl")
        batch = config.generation.batch_size or 1
        self._engine = engine
        self._batch = batch if config.inference_engine == "NATIVE" else None
        self._chunk = self._batch or max(batch, CHUNK)
        self._engine_config = _with_output(config, self._incoming) if _is_remote(engine) else None
        self._journal = Journal(file, made_by=depends_on)
        self._take_over()

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

        A question that the engine refuses for good, such as a prompt longer than the model's
        context, has an empty answer. The next run asks it again, and is not stopped where nothing
        but these is refused.

        Raises:
            CoalmError: The engine failed at some questions. The answers to the others are kept.
        """
        keys = [_key(question) for question in questions]
        open_ = self._open(questions, keys)
        done = len(keys) - len(open_)
        shown = progress and bool(open_)
        refused: dict[int, str] = {}
        with tqdm(total=len(keys), initial=done, desc="answers", disable=not shown) as bar:
            for first in range(0, len(open_), self._chunk):
                chunk = open_[first : first + self._chunk]
                answers = self.attempt([questions[n] for n in chunk])
                self._check([questions[n] for n in chunk], answers)
                for n, answer in zip(chunk, answers, strict=True):
                    if answer.text is None:
                        refused[n] = answer.error
                        if _refusal_key(keys[n]) not in self._journal:
                            self._journal.append(_refusal_key(keys[n]), {"error": answer.error})
                bar.update(len(chunk))
        if refused:
            first, error = next(iter(refused.items()))
            logger.warning(
                f"{len(refused)} of {len(keys)} questions were refused and count as answered with "
                f"nothing, first {questions[first].key}: {error}"
            )
        return [
            "" if n in refused else self._journal.records[key]["text"] for n, key in enumerate(keys)
        ]

    def attempt(self, questions: Sequence[Question]) -> list[Generated]:
        """Returns what came of each question: recorded before, or asked now.

        All at once, or batch by batch where that is what the engine does, recorded each time.
        """
        keys = [_key(question) for question in questions]
        open_ = self._open(questions, keys)
        found: dict[int, Generated] = {}
        size = self._batch or max(len(open_), 1)
        for first in range(0, len(open_), size):
            chunk = open_[first : first + size]
            answers = generate(self._engine, [questions[n] for n in chunk], self._engine_config)
            for n, answer in zip(chunk, answers, strict=True):
                found[n] = answer
                self._record(keys[n], answer)
            self._incoming.unlink(missing_ok=True)
        return [found[n] if n in found else self._recorded(key) for n, key in enumerate(keys)]

    def _record(self, key: str, answer: Generated) -> None:
        if answer.text is not None:
            record = {"text": answer.text, "usage": dataclasses.asdict(answer.usage)}
            if answer.is_cut:
                record["is_cut"] = True
            self._journal.append(key, record)

    def _take_over(self) -> None:
        """Records what came before a kill of answers that Oumi's engine was still collecting.

        It writes each into a scratch file as it comes, and all into one file at the end.
        """
        scratch = self._incoming.parent / "scratch"
        files = [*scratch.glob(f"{self._incoming.stem}_*"), self._incoming]
        for file in filter(Path.exists, files):
            for line in file.read_bytes().splitlines():
                try:
                    conversation = Conversation.from_dict(json.loads(line))
                except ValueError:  # cut short by the kill
                    continue
                key, answer = conversation.metadata.get(_RECORD), _answered(conversation)
                if key and answer and key not in self._journal:
                    self._record(key, answer)
            self._journal.sync()
            file.unlink()

    def _open(self, questions: Sequence[Question], keys: Sequence[str]) -> list[int]:
        """Returns the places of those that have no answer yet.

        The native engine pads each batch to its longest prompt; with the longest first, memory runs
        out at once or never.
        """
        found = [n for n, key in enumerate(keys) if key not in self._journal]
        lengths = {n: sum(len(str(m.content)) for m in questions[n].messages) for n in found}
        return sorted(found, key=lambda n: lengths[n], reverse=True)

    def _recorded(self, key: str) -> Generated:
        record = self._journal.records[key]
        is_cut = record.get("is_cut", False)
        return Generated(record["text"], Usage(**record["usage"]), is_cut=is_cut)

    def _check(self, questions: Sequence[Question], answers: Sequence[Generated]) -> None:
        """Refuses to go on after failures that are no matter of the questions."""
        refusals = (Cause.TOO_LONG, Cause.REFUSED)
        news = [
            (question, answer)
            for question, answer in zip(questions, answers, strict=True)
            if answer.cause not in refusals or _refusal_key(_key(question)) not in self._journal
        ]
        hopeless = is_hopeless([answer for _, answer in news])
        tolerated = () if hopeless else (None, *refusals)
        lost = [
            f"{question.key}: {answer.error}"
            for question, answer in news
            if answer.cause not in tolerated
        ]
        if lost:
            raise CoalmError(
                f"the inference engine failed at {len(lost)} of {len(questions)} questions, first "
                f"at {lost[0]}; the other answers are kept in {self._journal.path}: run the "
                "command again to go on"
            )


def _is_remote(engine: "BaseInferenceEngine") -> bool:
    """Returns True if answers come one by one, from a server."""
    from oumi.inference import RemoteInferenceEngine

    return isinstance(engine, RemoteInferenceEngine)


def _with_output(config: "EvaluationConfig", file: Path) -> "InferenceConfig":
    """Returns what an engine was built from, and a file to write to."""
    from oumi.core.configs import InferenceConfig

    return InferenceConfig(
        model=config.model,
        generation=config.generation,
        engine=config.inference_engine,
        # A copy: the engine fills in what is missing, and what answers depend on is read from ours.
        remote_params=copy.deepcopy(config.inference_remote_params),
        output_path=str(file),
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
    return f"{question.key}#{digest(content)}"


def _refusal_key(key: str) -> str:
    return f"{key} refused"


def made_by(config: "EvaluationConfig") -> dict[str, Json]:
    """Says what a model's answers depend on besides the prompt, its weights included."""
    model = _plain(dataclasses.asdict(config.model))
    folders = [config.model.model_name, config.model.adapter_model]
    remote = config.inference_remote_params
    return {
        "model": model,
        "weights": [digest(_files(Path(f))) for f in folders if f and Path(f).is_dir()],
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
