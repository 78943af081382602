"""One bounded exchange with an untrusted server, for every client of this package.

A reply is bounded in time and bytes, and never comes from another host. If a server echoes the
request's credentials, they are masked before anything reads, prints or records the reply.
"""

import json
import math
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp

from coalm_oumi.core.jsontext import Json, is_list, is_object

MAX_REPLY_BYTES = 32 << 20
"""An answer of 100,000 tokens with log probabilities takes less."""

MAX_RETRY_AFTER = 60.0
"""The most seconds that a client sleeps at once at a server's request."""

PATIENCE_SECONDS = 300.0
"""A longer pause ends the run with a message that says when to run it again."""

_MAX_REDIRECTS = 3
_CREDENTIALS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
_NO_KEYS = {"", "none", "empty", "dummy", "null", "bearer"}
_MASK = "***"
_REAL_KEY = 8
"""Every provider's keys are longer than this many characters."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a server.

    Attributes:
        status: The HTTP status.
        body: The content, decompressed, without the credentials of the request.
        retry_after: Seconds after which to ask again, at most `MAX_RETRY_AFTER`; None if the
            server gives none.
        final: True if asking again is useless, whatever the status is.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    final: bool = False

    @property
    def text(self) -> str:
        """The content as text."""
        return self.body.decode("utf-8", "replace")


def new_session() -> aiohttp.ClientSession:
    """Returns a session for `exchange`. Its callers bound how many requests run at a time."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    seconds: float,
    max_bytes: int | None = None,
    **content: Any,
) -> Reply:
    """Sends one request and reads the whole reply, within a deadline and a bound of bytes.

    Args:
        session: From `new_session`.
        method: `GET` or `POST`.
        url: The address.
        headers: The headers, including credentials.
        seconds: The deadline from the start to the last byte of the reply.
        max_bytes: A longer reply is cut off and final. Default: `MAX_REPLY_BYTES`.
        **content: `json` or `data`, as aiohttp takes them.

    Raises:
        aiohttp.ClientError: There is no connection, or it broke.
        asyncio.TimeoutError: The reply was not complete in time.
    """
    deadline = time.monotonic() + seconds
    for _ in range(_MAX_REDIRECTS + 1):
        left = max(deadline - time.monotonic(), 0.001)
        async with session.request(
            method,
            url,
            headers=dict(headers),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=left),
            **content,
        ) as response:
            target = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and target:
                url, refusal = _redirected(url, target, response.status, method)
                if refusal:
                    return _final(403, refusal)
                continue
            return await _read(response, headers, max_bytes or MAX_REPLY_BYTES)
    return _final(403, "redirects in a circle")


def _redirected(url: str, target: str, status: int, method: str) -> tuple[str, str]:
    """Returns the next address, or why it is not asked: a key is for one host only."""
    following = urljoin(url, target)
    old, new = urlsplit(url), urlsplit(following)
    if (old.scheme, old.hostname, old.port) != (new.scheme, new.hostname, new.port):
        place = f"{new.scheme}://{new.hostname}" + (f":{new.port}" if new.port else "")
        return "", (
            f"redirects to another host, {place}, which is refused; give that address if it is "
            "right"
        )
    if status not in (307, 308) and method != "GET":
        return "", f"redirects a request with status {status}, which would lose its content"
    return following, ""


async def _read(response: aiohttp.ClientResponse, sent: Mapping[str, str], max_bytes: int) -> Reply:
    too_long = f"the reply is longer than {max_bytes:,} bytes and was not read"
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(1 << 16):
        size += len(piece)
        if size > max_bytes:
            response.close()
            return _final(422, too_long)
        pieces.append(piece)
    body = b"".join(pieces)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding in ("gzip", "deflate"):
        # At most one byte over the limit is ever decompressed.
        unpacker = zlib.decompressobj(wbits=47)
        try:
            body = unpacker.decompress(body, max_bytes + 1)
        except zlib.error as error:
            raise aiohttp.ClientPayloadError(f"the reply is not {encoding}: {error}") from error
        if len(body) > max_bytes:
            return _final(422, too_long)
    elif encoding != "identity":
        return _final(422, f"the reply is packed as {encoding[:20]!r}, which was not asked for")
    keys = secrets(sent)
    if response.status == 200:
        # For local servers, a word such as `test` may replace a key. It also occurs in answers.
        keys = [key for key in keys if len(key) >= _REAL_KEY]
    text = masked(body.decode("utf-8", "replace"), keys)
    reply = Reply(response.status, text.encode("utf-8"))
    if reply.status not in (429, 503):
        return reply
    return _paced(reply, response.headers.get("Retry-After"))


def _paced(reply: Reply, header: str | None) -> Reply:
    """Bounds the pause that a busy server asks for."""
    seconds = read_retry_after(header)
    if seconds is None or seconds <= MAX_RETRY_AFTER:
        return replace(reply, retry_after=seconds)
    if seconds <= PATIENCE_SECONDS:
        return replace(reply, retry_after=MAX_RETRY_AFTER)
    return _final(
        reply.status,
        f"the server asks for a pause of {_duration(seconds)} (Retry-After); run again after that. "
        f"It says: {error_text(reply)}",
    )


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{math.ceil(seconds / 60)} minutes"
    return f"{hours:,.1f} hours" if hours < 1000 else "more than 1,000 hours"


def read_retry_after(header: str | None) -> float | None:
    """Reads a Retry-After header, seconds or a date; None if it is unusable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except (ValueError, TypeError, IndexError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _final(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), final=True)


def secrets(headers: Mapping[str, str]) -> list[str]:
    """Returns the credentials that a request's headers hold, the longest first."""
    values = [value for name, value in headers.items() if name.lower() in _CREDENTIALS]
    found = {value.rpartition(" ")[2].strip() for value in values}
    return sorted((key for key in found if key.lower() not in _NO_KEYS), key=len, reverse=True)


def masked(text: str, keys: list[str]) -> str:
    """Masks keys in a text, even if they are written with JSON escapes.

    All masking happens here: everything that a server sends goes through this function.
    """
    for key in keys:
        text = text.replace(key, _MASK)
        text = text.replace(json.dumps(key)[1:-1], _MASK)
        text = text.replace(key.replace("/", "\\/"), _MASK)
        if "\\u" in text:  # a server can write any character of a key as \\uXXXX
            units = (f"(?:{re.escape(char)}|\\\\u(?i:{ord(char):04x}))" for char in key)
            text = re.sub("".join(units), _MASK, text)
    return text


def public_url(url: str) -> str:
    """Returns an address without user, password and query, which may hold keys."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    place = host + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def error_text(reply: Reply) -> str:
    """Returns a server's error on one line: its message, and its code if it has one.

    Servers word errors as `{"error": {"message", "code", "type"}}`, `{"error": "text"}`,
    `{"message": "text"}`, `{"detail": "text"}` or `{"detail": [{"msg": "text"}]}`, or as a page.
    """
    try:
        content = json.loads(reply.body)
    except (ValueError, RecursionError):
        content = None
    text = " ".join(error_of(content).split()) or " ".join(reply.text.split())
    return text[:500] or f"HTTP status {reply.status}"


def error_of(content: Json) -> str:
    """Returns the error that a reply's JSON holds; empty if it holds none."""
    if is_list(content) and content:
        content = content[0]  # Google's
    if not is_object(content):
        return ""
    error = content.get("error") or content.get("detail") or content.get("message")
    codes = [content.get("error_type")]
    if is_list(error):
        error = "; ".join(
            str(item.get("msg", item) if is_object(item) else item) for item in error[:3]
        )
    elif is_object(error):
        codes += [error.get("code"), error.get("type"), error.get("status")]
        error = error.get("message") or error.get("msg") or "no reason given"
    if not error:
        return ""
    named = [code for code in codes if isinstance(code, str) and code and code not in str(error)]
    return f"{error} ({', '.join(named)})" if named else str(error)
