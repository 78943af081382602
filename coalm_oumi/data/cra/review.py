"""The page on which people validate CRA dialogues, as in Appendix D.

It shows a sample of dialogues one at a time. Four questions are answered with yes or no, and a
fault needs a remark. Every answer is written to a journal at once, so the page can be closed and
resumed.
"""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from coalm_oumi.core.digest import digest
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, loads
from coalm_oumi.core.options import first_problem
from coalm_oumi.core.wording import one_line
from coalm_oumi.data.cra import transcript
from coalm_oumi.data.cra.rates import Rate
from coalm_oumi.data.cra.transcript import TranscriptError
from coalm_oumi.data.cra.validate import DIMENSIONS, Dimension
from coalm_oumi.data.cra.validation import LABELS, PAPER_ERROR_RATE, CraCase, rates
from coalm_oumi.files.journal import Journal

HOST = "127.0.0.1"

QUESTIONS: Mapping[Dimension, str] = {
    "undefined_function": "Is a function or an argument used that the list does not define?",
    "argument_type": "Is an argument of another type or form than its function wants?",
    "hallucination": "Is an argument given that the conversation does not call for or support?",
    "reasoning": "Is there a gap in the reasoning, or an API call that was not needed?",
}
"""The four dimensions of Appendix D as questions: yes is a fault."""

MAX_BODY_BYTES = 64 << 10
"""A review is four numbers and a remark. Reading a longer request stops here."""

_PAGE = Path(__file__).parent / "page"
# They keep the page's text from becoming code, whatever it holds.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Review(BaseModel):
    """A person's judgement of one dialogue.

    Attributes:
        scores: 1 for no fault and 0 for a fault, for each of the four dimensions.
        feedback: What is wrong; needed where a score is 0.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    scores: dict[str, int]
    feedback: str = ""

    def problem(self) -> str | None:
        """Returns why the review is incomplete."""
        if self.scores.keys() != QUESTIONS.keys():
            return f"answer all of {', '.join(QUESTIONS)}"
        if not set(self.scores.values()) <= {0, 1}:
            return "a score is 0 or 1"
        if 0 in self.scores.values() and not self.feedback.strip():
            return "a fault needs a remark"
        return None


@dataclass(frozen=True, slots=True)
class Reviews:
    """A sample of dialogues, and their reviews so far.

    Attributes:
        cases: The dialogues, in the order in which they are shown.
        journal: The reviews, by dialogue.
    """

    cases: Sequence[CraCase]
    journal: Journal

    @classmethod
    def open(cls, cases: Sequence[CraCase], journal: Path, *, size: int, seed: int) -> "Reviews":
        """Draws the sample and opens its journal.

        Args:
            cases: All dialogues.
            journal: The file to keep reviews in.
            size: How many dialogues to sample at most; the paper took 100.
            seed: Seeds the sample.

        Raises:
            CoalmError: The journal is of another sample or of other texts, or there is nothing to
                review.
        """
        if size < 1:
            raise CoalmError(f"--sample {size}: must be positive")
        sample = random.Random(seed).sample(list(cases), min(size, len(cases)))
        names = [case.dialogue_id for case in sample]
        made_by = {"sample": names, "texts": digest([case.text for case in sample])}
        return cls(sample, Journal(journal, made_by=made_by))

    def records(self) -> list[Json]:
        """Returns the reviews so far, in the order of the sample."""
        return [
            {"dialogue_id": case.dialogue_id, **self.journal.records[case.dialogue_id]}
            for case in self.cases
            if case.dialogue_id in self.journal
        ]

    def rates(self) -> Mapping[str, Rate]:
        """Returns the error rate with its 95% interval, by dimension and in any."""
        faults: list[dict[Dimension, bool | None]] = [
            {name: record["scores"][name] == 0 for name in QUESTIONS} for record in self.records()
        ]
        return rates(faults)

    def as_csv(self) -> str:
        """Writes the reviews as a table for spreadsheets."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["dialogue_id", *QUESTIONS, "feedback"])
        for record in self.records():
            row = [record["dialogue_id"], *record["scores"].values(), record["feedback"]]
            writer.writerow([_plain(cell) for cell in row])
        return _writable(text.getvalue())

    def as_jsonl(self) -> str:
        """Writes the reviews as JSON Lines, as `coalm cra validate --people` reads them."""
        return _writable("".join(f"{dumps(record)}\n" for record in self.records()))


def app(reviews: Reviews) -> FastAPI:
    """Returns the web application of a review."""
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A web page must not reach it through another name that resolves to this machine.
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @server.middleware("http")
    async def with_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @server.get("/api/state")
    def state() -> Json:
        return _state(reviews)

    @server.get("/api/dialogues/{number}")
    def dialogue(number: int) -> Json:
        case = _case(reviews, number)
        return {
            "dialogue_id": case.dialogue_id,
            "turns": _turns(case.text),
            "functions": _functions(case),
            "review": reviews.journal.records.get(case.dialogue_id),
        }

    # A coroutine, because plain functions run in threads, and a journal has one writer.
    @server.put("/api/dialogues/{number}")
    async def answer(number: int, review: Annotated[Review, Depends(_read_review)]) -> Json:
        case = _case(reviews, number)
        scores = {name: review.scores[name] for name in QUESTIONS}
        reviews.journal.append(
            case.dialogue_id, {"scores": scores, "feedback": _writable(review.feedback.strip())}
        )
        reviews.journal.sync()
        return _state(reviews)

    @server.get("/reviews.csv")
    def as_csv() -> Response:
        return Response(reviews.as_csv(), media_type="text/csv", headers=_file("csv"))

    @server.get("/reviews.jsonl")
    def as_jsonl() -> Response:
        return Response(reviews.as_jsonl(), media_type="application/jsonl", headers=_file("jsonl"))

    server.mount("/", StaticFiles(directory=_PAGE, html=True))
    return server


def _state(reviews: Reviews) -> Json:
    """Returns what the page shows beside a dialogue: questions, progress and rates."""
    return {
        "questions": [
            {"name": name, "title": DIMENSIONS[name], "text": text}
            for name, text in QUESTIONS.items()
        ],
        "reviewed": [case.dialogue_id in reviews.journal for case in reviews.cases],
        "paper": PAPER_ERROR_RATE,
        "rates": [
            {
                "title": LABELS[name],
                "count": rate.count,
                "total": rate.total,
                "low": rate.interval()[0],
                "high": rate.interval()[1],
            }
            for name, rate in reviews.rates().items()
        ],
    }


async def _read_review(request: Request) -> Review:
    """Reads a review from a request's body.

    Raises:
        HTTPException: The body is too long, is not JSON, or is not a whole review.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, "the request is too long")
    # A page of another site cannot send this type without a preflight request, which this server
    # does not grant.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(422, "expected application/json")
    try:
        review = Review.model_validate(loads(body.decode()))
    except ValidationError as error:
        raise HTTPException(422, first_problem(error)) from error
    except ValueError as error:
        raise HTTPException(422, one_line(error)) from error
    if problem := review.problem():
        raise HTTPException(422, problem)
    return review


def _writable(text: str) -> str:
    """Replaces halves of surrogate pairs, which JSON can hold and no file or page can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _case(reviews: Reviews, number: int) -> CraCase:
    if not 0 <= number < len(reviews.cases):
        raise HTTPException(404, "no such dialogue")
    return reviews.cases[number]


def _turns(text: str) -> list[list[Json]]:
    """Cuts a transcript into labelled fields; one field without a label if it cannot be read."""
    try:
        blocks = transcript.parse_fields(text)
    except TranscriptError:
        return [[{"name": "", "text": text}]]
    return [[{"name": field.name, "text": field.text} for field in block] for block in blocks]


def _functions(case: CraCase) -> list[Json]:
    """Lists the functions, those that are called first."""
    functions = [
        {
            "name": function.name,
            "signature": function.signature(),
            "description": function.description,
            "values": {
                name: list(values[name])
                for name in (*function.required, *function.optional)
                if values.get(name)
            },
            "is_called": function.name in case.text,
        }
        for variants in case.catalogue.values()
        for function, values in variants
    ]
    return sorted(functions, key=lambda function: not function["is_called"])


def _file(suffix: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="reviews.{suffix}"'}


def _plain(cell: Any) -> Any:
    """Keeps a spreadsheet from taking text for a formula."""
    is_formula = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{cell}" if is_formula else cell
