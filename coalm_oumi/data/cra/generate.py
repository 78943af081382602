"""Turns SGD dialogues into CRA dialogues with a language model (paper, section 4.1, Table 6).

Every answer is written to a journal as it arrives. After any interruption, the next run asks only
for what the journal lacks. Readable answers become `transcripts.jsonl`, which the `sgd` source
reads, and the others `failed.jsonl`, each with its reason.
"""

import asyncio
import difflib
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import Field
from tqdm import tqdm

from coalm_oumi.core.digest import digest_of_text
from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options, Seed, Text
from coalm_oumi.core.usage import Usage
from coalm_oumi.data.cra import sgd, transcript
from coalm_oumi.data.cra.dialogue import CraTurn
from coalm_oumi.data.cra.transcript import TranscriptError
from coalm_oumi.files.journal import Journal
from coalm_oumi.files.jsontext import write_json, write_jsonl
from coalm_oumi.files.resources import resolve
from coalm_oumi.llm import chat_batch
from coalm_oumi.llm.chat import Answer, BudgetError, ChatClient, ChatError, Endpoint, Sampling
from coalm_oumi.llm.chat_batch import MAX_BYTES, MAX_REQUESTS, BatchClient, BatchError
from coalm_oumi.rendering import prompts

JOURNAL = "answers.jsonl"
TRANSCRIPTS = "transcripts.jsonl"
FAILED = "failed.jsonl"
SUMMARY = "summary.json"

BYTES_PER_TOKEN = 4.0
"""The estimate's assumption for English text before there are answers to measure."""

TOKENS_PER_TURN = 100
"""The estimate's assumption for transcripts: those in the package have 393 bytes per turn."""


_PATIENCE = 8
"""A run ends after this many failures in a row, or a full round: the server is gone."""

_UNREADABLE = 50
"""A run ends after this many answers if none is readable: the model cannot do the task."""

_FIRST_BATCH = 2 * _UNREADABLE
"""The size of a batch until an answer could be read, because a whole batch is paid for."""

_LIMITS = ("max_tokens", "max_completion_tokens")


class GenerateConfig(Options):
    """The options of a generation, read from a YAML of `recipes/cra`.

    Attributes:
        path: A split of SGD: `schema.json` and `dialogues_*.json`.
        output_dir: The folder to write.
        endpoint: The model, and how to ask it.
        sampling: Parameters of the chat completions API. `max_tokens` bounds each answer.
        functions: Which functions a prompt lists: `all`, as in Table 6, or `dialogue`.
        signatures: Which arguments a prompt lists: the `required` ones, as in Table 6, or also the
            optional ones with their defaults (`full`).
        limit: The number of dialogues, chosen by the seed; all if not given.
        seed: The seed of the choice.
    """

    path: Text
    output_dir: Text
    endpoint: Endpoint
    sampling: Sampling = Field(default_factory=Sampling)
    functions: sgd.Scope = "all"
    signatures: sgd.Signatures = "required"
    limit: int | None = Field(default=None, ge=1)
    seed: Seed = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One dialogue to generate.

    Attributes:
        dialogue_id: SGD's id.
        prompt: The prompt.
        user_inputs: The user's words, turn by turn.
    """

    dialogue_id: str
    prompt: str
    user_inputs: Sequence[str]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a chat."""
        return [{"role": "user", "content": self.prompt}]

    def key(self, attempt: int) -> str:
        """Names an attempt: the same for the same prompt, in every run."""
        return f"cra-{self.dialogue_id}-{digest_of_text(self.prompt)}-{attempt}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of a run, before the first call.

    Attributes:
        requests: The number of dialogues to ask for.
        done: The number of dialogues that have an answer already.
        usage: The expected tokens.
        usd: Their price, None if prices are not given.
        basis: The basis of the estimate.
    """

    requests: int
    done: int
    usage: Usage
    usd: float | None
    basis: str

    def __str__(self) -> str:
        """Writes it on one line."""
        price = "price unknown" if self.usd is None else f"about ${self.usd:,.2f}"
        return (
            f"{self.requests:,} dialogues to ask for ({self.done:,} are done), {price}, about "
            f"{self.usage.input_tokens:,} tokens in and {self.usage.output_tokens:,} out, by "
            f"{self.basis}"
        )


class Generation:
    """The requests of one configuration, and the answers that its journal holds.

    Use it in a `with` statement, which locks the journal.

    Attributes:
        endpoint: The model's endpoint.
        requests: Every dialogue.
        rejected: The SGD records that cannot be asked about, with the reason.
    """

    def __init__(self, config: GenerateConfig) -> None:
        """Reads the data and opens the journal.

        Raises:
            CoalmError: The configuration or the data is bad, or the journal is another run's.
        """
        self.endpoint = config.endpoint
        self.folder = Path(config.output_dir)
        self.requests, self.rejected = read_requests(config)
        self._sampling = config.sampling
        self._journal = Journal(
            self.folder / JOURNAL,
            made_by={
                "command": "coalm cra generate",
                "model": self.endpoint.model,
                # A longer limit, for answers that were cut off, continues the same run.
                "sampling": {k: v for k, v in self._sampling.items() if k not in _LIMITS},
                "functions": config.functions,
                "signatures": config.signatures,
                "split": resolve(config.path).name,
                "prompt": prompts.fingerprint("cra_generate"),
            },
        )
        self._errors: dict[str, str] = {}
        self._spent = sum(record.get("usd") or 0.0 for record in self._journal.records.values())

    def __enter__(self) -> "Generation":
        """Returns the generation itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the journal."""
        self._journal.close()

    @property
    def spent(self) -> float | None:
        """US dollars for every answer in the journal, None if prices are not given."""
        if self.endpoint.usd(Usage()) is None:
            return None
        return self._spent

    def pending(self, *, retry_failed: bool) -> list[tuple[str, Request]]:
        """Lists the open requests, each under the key of its next attempt.

        Args:
            retry_failed: Ask again if the last answer could not be read.
        """
        todo: list[tuple[str, Request]] = []
        for request in self.requests:
            attempt = self._attempts(request)
            if attempt == 0 or (retry_failed and self._problem(request)):
                todo.append((request.key(attempt), request))
        return todo

    def estimate(self, *, retry_failed: bool, batch: bool) -> Estimate:
        """Estimates the cost of the open requests."""
        todo = self.pending(retry_failed=retry_failed)
        bytes_per_token, per_turn = BYTES_PER_TOKEN, float(TOKENS_PER_TURN)
        answered = [
            (record, request)
            for request in self.requests
            if (record := self._last(request)) is not None and record["output_tokens"]
        ]
        basis = "4 bytes per token and 100 tokens per turn"
        if answered:
            read = sum(_size(request) for _, request in answered)
            turns = sum(len(request.user_inputs) for _, request in answered)
            bytes_per_token = read / max(1, sum(record["input_tokens"] for record, _ in answered))
            per_turn = sum(record["output_tokens"] for record, _ in answered) / turns
            basis = f"the {len(answered)} answers so far"
        usage = Usage(
            round(sum(_size(request) for _, request in todo) / bytes_per_token),
            round(sum(len(request.user_inputs) for _, request in todo) * per_turn),
        )
        usd = self.endpoint.usd(usage)
        if usd is not None and batch:
            usd *= chat_batch.PRICE
        return Estimate(len(todo), len(self.requests) - len(todo), usage, usd, basis)

    async def run(
        self,
        *,
        max_usd: float | None = None,
        retry_failed: bool = False,
        batch: bool = False,
        poll_seconds: float = 30.0,
    ) -> None:
        """Asks for what the journal lacks.

        Args:
            max_usd: The budget in US dollars of all runs of this journal together.
            retry_failed: Ask again if the last answer could not be read.
            batch: Use the Batch API: half the price, within a day.
            poll_seconds: Seconds between two checks of a batch.

        Raises:
            BudgetError: The budget is used up.
            ChatError: The server keeps failing.
            CoalmError: None of the first answers can be read.
        """
        if not batch and self._batches("started"):
            raise CoalmError(
                f"{self.folder / JOURNAL}: a batch is under way, which is paid for; collect it "
                "with --batch first"
            )
        todo = dict(self.pending(retry_failed=retry_failed))
        with tqdm(total=len(todo), desc="dialogues", unit="", smoothing=0.05) as bar:
            self._show(bar)
            if batch:
                await self._run_batches(todo, max_usd, poll_seconds, bar)
            else:
                await self._run_requests(todo, max_usd, bar)

    async def _run_requests(
        self, todo: Mapping[str, Request], max_usd: float | None, bar: "tqdm[NoReturn]"
    ) -> None:
        budget = None if max_usd is None else max_usd - (self.spent or 0.0)
        rest = iter(todo.items())
        patience = max(_PATIENCE, self.endpoint.concurrency)
        failures = 0
        stopped: CoalmError | None = None
        asked: list[Request] = []

        async def work() -> None:
            nonlocal failures, stopped
            for key, request in rest:
                try:
                    answer = await client.complete(
                        request.messages, request_id=key, **self._sampling
                    )
                except ChatError as error:
                    self._errors[key] = str(error)
                    failures += 1
                    if isinstance(error, BudgetError) or failures >= patience:
                        stopped = error
                else:
                    failures = 0
                    try:
                        self._record(key, answer, price=1.0)
                    except WriteError as error:  # the other requests under way may still fit
                        stopped = stopped or error
                    else:
                        asked.append(request)
                    bar.update()
                    self._show(bar)
                    stopped = stopped or self._none_readable(asked)
                if stopped:  # requests under way are paid for: they finish
                    return

        async with ChatClient(self.endpoint, max_usd=budget) as client:
            await asyncio.gather(*(work() for _ in range(self.endpoint.concurrency)))
        if isinstance(stopped, BudgetError):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BudgetError(
                f"stopped at ${self.spent:.4f} of ${max_usd:g}, all runs together: the next "
                f"request to {self.endpoint.model} may cost more than is left; raise "
                "--max-usd to go on"
            )
        if stopped:
            raise stopped

    async def _run_batches(
        self,
        todo: dict[str, Request],
        max_usd: float | None,
        poll_seconds: float,
        bar: "tqdm[NoReturn]",
    ) -> None:
        async with BatchClient(self.endpoint, poll_seconds=poll_seconds) as client:
            # A batch that an interrupted run has started is paid for: collect it first.
            for batch_id in self._batches("started"):
                await self._collect(client, batch_id, todo, bar)
            while todo:
                proven = any(self._last(r) and not self._problem(r) for r in self.requests)
                most = MAX_REQUESTS if proven else _FIRST_BATCH
                chosen = self._affordable(todo, max_usd, most)
                batch_id = await client.start(
                    {key: {"messages": request.messages, **self._sampling}
                     for key, request in chosen.items()},
                    ended=self._batches("collected"),
                )  # fmt: skip
                self._journal.append(batch_id, {"batch": "started"})
                self._journal.sync()
                await self._collect(client, batch_id, todo, bar)
                for key in chosen:  # the next run asks for what it did not answer
                    todo.pop(key, None)
                answered = [request for request in chosen.values() if self._last(request)]
                if todo and (unreadable := self._none_readable(answered)):
                    raise unreadable

    async def _collect(
        self, client: BatchClient, batch_id: str, todo: dict[str, Request], bar: "tqdm[NoReturn]"
    ) -> None:
        before = bar.n

        def progress(done: int) -> None:
            bar.n = before + done
            bar.refresh()

        try:
            results = await client.collect(batch_id, progress)
        except BatchError:
            self._journal.append(batch_id, {"batch": "failed"})
            raise
        bar.n = before
        for key, result in results.items():
            if isinstance(result, ChatError):
                self._errors[key] = str(result)
            elif key not in self._journal:
                self._record(key, result, price=chat_batch.PRICE)
                bar.update(todo.pop(key, None) is not None)
        self._journal.append(batch_id, {"batch": "collected"})
        self._show(bar)

    def _affordable(
        self, todo: Mapping[str, Request], max_usd: float | None, most: int
    ) -> Mapping[str, Request]:
        """Takes as many requests as fit into one batch and the budget, at most `most`."""
        chosen: dict[str, Request] = {}
        usd, size = self.spent or 0.0, 0
        for key, request in todo.items():
            cost = 0.0
            if max_usd is not None:
                cost = chat_batch.PRICE * self.endpoint.most_usd(request.messages, **self._sampling)
            usd, size = usd + cost, size + 2 * _size(request)
            if max_usd is not None and usd > max_usd:
                if chosen:
                    break
                raise BudgetError(
                    f"stopped at ${self.spent:.4f} of ${max_usd:g}: the next request to "
                    f"{self.endpoint.model} may cost ${cost:.4f}; raise --max-usd to go on"
                )
            if chosen and (len(chosen) == most or size > MAX_BYTES):
                break
            chosen[key] = request
        return chosen

    def write(self) -> Mapping[str, Json]:
        """Writes the transcripts and failures of all answers so far; returns the summary."""
        transcripts: list[Json] = []
        failed: list[Json] = []
        for request in self.requests:
            name, record = {"dialogue_id": request.dialogue_id}, self._last(request)
            if record is None:
                reason = self._errors.get(request.key(0), "not asked yet")
                failed.append({**name, "reason": reason, "text": None})
                continue
            try:
                transcripts.append({**name, "text": transcript.write(_turns(request, record))})
            except TranscriptError as error:
                failed.append({**name, "reason": str(error), "text": record["text"]})
        records = [record for record in self._journal.records.values() if "text" in record]
        unanswered = sum(record["text"] is None for record in failed)
        summary = {
            "model": self.endpoint.model,
            "dialogues": len(self.requests),
            "transcripts": len(transcripts),
            "failed": len(failed) - unanswered,
            "unanswered": unanswered,
            "rejected": self.rejected,
            "answers": len(records),
            "input_tokens": sum(record["input_tokens"] for record in records),
            "output_tokens": sum(record["output_tokens"] for record in records),
            "usd": self.spent,
        }
        write_jsonl(self.folder / TRANSCRIPTS, transcripts)
        write_jsonl(self.folder / FAILED, failed)
        write_json(self.folder / SUMMARY, summary)
        return summary

    def _batches(self, state: str) -> list[str]:
        """Lists the batches that were `started` and not collected, or `collected`."""
        records = self._journal.records.items()
        return [key for key, record in records if record.get("batch") == state]

    def _record(self, key: str, answer: Answer, *, price: float) -> None:
        usd = self.endpoint.usd(answer.usage)
        self._spent += (usd or 0.0) * price
        self._journal.append(
            key,
            {
                "dialogue_id": key.removeprefix("cra-").rsplit("-", 2)[0],
                "text": answer.text,
                "finish_reason": answer.finish_reason,
                "input_tokens": answer.usage.input_tokens,
                "output_tokens": answer.usage.output_tokens,
                "usd": None if usd is None else usd * price,
            },
        )

    def _attempts(self, request: Request) -> int:
        return next(n for n in itertools.count() if request.key(n) not in self._journal)

    def _last(self, request: Request) -> Json:
        attempts = self._attempts(request)
        return self._journal.records[request.key(attempts - 1)] if attempts else None

    def _none_readable(self, asked: Sequence[Request]) -> CoalmError | None:
        """Returns the error for a run of which no answer can be read, once there are enough."""
        if len(asked) < _UNREADABLE or not all(self._problem(request) for request in asked):
            return None
        return CoalmError(
            f"none of {len(asked)} answers of {self.endpoint.model} can be read, the first: "
            f"{self._problem(asked[0])}; {self.folder / FAILED} has them all. Try another model or "
            "`sampling`"
        )

    def _problem(self, request: Request) -> str | None:
        """Returns why the last answer to a request cannot be read; None if it can."""
        try:
            _turns(request, self._last(request))
        except TranscriptError as error:
            return str(error)
        return None

    def _show(self, bar: "tqdm[NoReturn]") -> None:
        if self.spent is not None:
            bar.set_postfix_str(f"${self.spent:.2f}", refresh=False)


def read_requests(config: GenerateConfig) -> tuple[list[Request], list[str]]:
    """Reads SGD's dialogues and renders their prompts.

    Returns:
        The requests, and the records that cannot be used, each with its place and reason.

    Raises:
        CoalmError: The data is missing or not SGD's, or an option is bad.
    """
    folder = resolve(config.path)
    services = sgd.read_services(folder)
    requests: list[Request] = []
    rejected: list[str] = []
    for where, record in sgd.records(folder):
        try:
            name, used = sgd.identify(record, services)
            said = sgd.user_inputs(record)
        except CoalmError as error:
            rejected.append(f"{where}: {error}")
            continue
        functions = sgd.functions(services, used, config.functions, config.signatures)
        prompt = prompts.render("cra_generate", functions=functions, user_inputs=said)
        requests.append(Request(name, prompt, said))
    if config.limit is not None:
        random.Random(config.seed).shuffle(requests)
        requests = requests[: config.limit]
    if not requests:
        raise CoalmError(f"{folder}: no dialogue to ask about; {'; '.join(rejected[:3])}")
    return requests, rejected


def read_turns(text: str, finish_reason: str, user_inputs: Sequence[str]) -> list[CraTurn]:
    """Reads a model's answer.

    Args:
        text: The answer.
        finish_reason: Why it ended.
        user_inputs: The expected words of the user. If an answer has several dialogues, the one
            that keeps most of them is taken; some models write a dialogue per turn.

    Raises:
        TranscriptError: It is not a dialogue in the format of Table 6, was cut off, or is another
            one than was asked for.
    """
    if finish_reason == "length":
        message = "cut off at the limit of tokens; raise max_tokens"
        raise TranscriptError(message, start=len(text), end=len(text))
    dialogues = transcript.parse_all(text)
    candidates = [*dialogues, [turn for dialogue in dialogues for turn in dialogue]]
    wanted = [_words(said) for said in user_inputs]

    def kept(turns: Sequence[CraTurn]) -> float:
        said = [_words(turn.user) for turn in turns]
        return difflib.SequenceMatcher(None, said, wanted, autojunk=False).ratio()

    best = max(candidates, key=kept)
    if not kept(best):  # such as the example in the prompt
        message = "another dialogue: the user says nothing of what was asked for"
        raise TranscriptError(message, start=0, end=len(text))
    return best


def _turns(request: Request, record: Json) -> list[CraTurn]:
    return read_turns(record["text"], record["finish_reason"], request.user_inputs)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _size(request: Request) -> int:
    return len(request.prompt.encode("utf-8", "replace"))
