"""Short hashes that identify content in the names of files and records."""

import hashlib

from coalm_oumi.core.jsontext import Json, dumps

LENGTH = 12
"""Hexadecimal digits: 48 bits, so that a million contents collide with a probability of 0.2 %."""


def digest(value: Json) -> str:
    """Returns the short hash of a JSON value; equal values have equal hashes."""
    return digest_of_text(dumps(value))


def digest_of_text(text: str) -> str:
    """Returns the short hash of a text, which may hold half of a surrogate pair."""
    return digest_of_bytes(text.encode("utf-8", "surrogatepass"))


def digest_of_bytes(content: bytes) -> str:
    """Returns the short hash of bytes."""
    return hashlib.sha256(content).hexdigest()[:LENGTH]
