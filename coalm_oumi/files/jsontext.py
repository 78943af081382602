"""JSON files: read whole or record by record, and written atomically.

They are UTF-8, with or without a byte order mark.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, is_list, loads, model_decoder
from coalm_oumi.files.atomic import write_text


def read_json(path: Path, *, errors: str = "strict") -> Json:
    """Reads one JSON file.

    Args:
        path: The file.
        errors: What to do with bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
        CoalmError: The file is missing or is not JSON.
    """
    try:
        return loads(path.read_bytes().decode("utf-8-sig", errors=errors))
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise CoalmError(f"{path}: not valid JSON: {error}") from error


def read_json_list(path: Path, *, of: str) -> list[Json]:
    """Reads one JSON file that holds a list.

    Args:
        path: The file.
        of: What the list holds, in the plural, for the error.

    Raises:
        CoalmError: The file is missing, is not JSON, or holds something else.
    """
    content = read_json(path)
    if not is_list(content):
        raise CoalmError(f"{path}: expected a JSON list of {of}")
    return content


def stream_json_list(path: Path, *, of: str) -> Iterator[tuple[Json, int]]:
    """Yields each element of one JSON file that holds a list, without holding the list.

    Args:
        path: The file.
        of: What the list holds, in the plural, for the error.

    Yields:
        The element, and how many bytes of the file have been read.

    Raises:
        CoalmError: The file is missing, is not JSON, or holds something else.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with stream:
        try:
            yield from _elements(stream)
        except _NotAListError as error:
            raise CoalmError(f"{path}: expected a JSON list of {of}") from error
        except ValueError as error:
            raise CoalmError(f"{path}: not valid JSON: {error}") from error


_PIECE = 1 << 20
_SPACE = " \t\n\r"
_MARK = re.compile(r"[ \t\n\r]*[],]")


class _NotAListError(ValueError):
    """The file holds JSON that is not a list."""


def _elements(stream: IO[bytes]) -> Iterator[tuple[Json, int]]:
    """Decodes one element after another from a buffer that is filled piece by piece."""
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    text, at, ended = "", 0, False

    def fill() -> None:
        nonlocal text, at, ended
        piece = stream.read(max(_PIECE, len(text) - at))  # as much again, for a long element
        ended = not piece
        text, at = text[at:] + decode(piece, final=ended), 0

    def next_character() -> str:
        nonlocal at
        while True:
            while at < len(text) and text[at] in _SPACE:
                at += 1
            if at < len(text) or ended:
                return text[at : at + 1]
            fill()

    def next_element() -> Json:
        nonlocal at
        next_character()
        while True:
            try:
                element, end = model_decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                if ended:
                    raise
            else:
                # If nothing follows a number such as 1.5, the rest of it may still be to come.
                if ended or _MARK.match(text, end):
                    at = end
                    return element
            fill()

    if next_character() != "[":
        raise _NotAListError
    at += 1
    count = 0
    if next_character() != "]":
        while True:
            try:
                yield next_element(), stream.tell()
            except json.JSONDecodeError as error:
                raise ValueError(f"element {count}: {error.msg}") from error
            except ValueError as error:  # NaN, or bytes that are not UTF-8
                raise ValueError(f"element {count}: {error}") from error
            except RecursionError as error:
                raise ValueError(f"element {count}: nested too deeply") from error
            count += 1
            mark = next_character()
            if mark == "]":
                break
            if mark != ",":
                raise ValueError(f"element {count}: expected `,` or `]` before it")
            at += 1
    at += 1
    if next_character():
        raise ValueError("there is text after the list")


def read_jsonl(path: Path) -> Iterator[tuple[int, Json]]:
    """Yields each record of a JSON Lines file with its line number, from 1.

    Raises:
        CoalmError: The file is missing, or a line is not JSON.
    """
    for number, content, problem in read_lines(path):
        if problem is not None:
            raise CoalmError(f"{path}:{number}: {problem}")
        yield number, content


def read_lines(path: Path) -> Iterator[tuple[int, Json, str | None]]:
    """Yields the lines of a JSON Lines file, including those after a line that is not JSON.

    Yields:
        The line's number, from 1, its record and None; or its number, None and the problem.

    Raises:
        CoalmError: The file is missing.
    """
    try:
        stream = path.open("rb")  # bytes, so that bad UTF-8 spoils only its line
    except OSError as error:
        raise _unreadable(path, error) from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            content, problem = None, None
            try:
                content = loads(line.decode("utf-8-sig"))
            except ValueError as error:
                problem = f"not valid JSON: {error}"
            yield number, content, problem


def _unreadable(path: Path, error: OSError) -> CoalmError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CoalmError(f"{path}: no such file")
    return CoalmError(f"{path}: cannot be read: {error.strerror}")


def write_json(path: Path, value: Json) -> None:
    """Writes one indented JSON file atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, records: Iterable[Json]) -> None:
    """Writes a JSON Lines file atomically.

    Output of models may hold halves of surrogate pairs, which UTF-8 cannot encode. They become `?`.
    """
    text = "".join(f"{dumps(record)}\n" for record in records)
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))
