"""Downloads a benchmark's files, once."""

import hashlib
import http.client
import urllib.request
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files.atomic import write_bytes

_SECONDS = 60


def fetch(address: str, file: Path, *, sha256: str | None = None) -> Path:
    """Downloads a file if it does not exist.

    Args:
        address: Its address.
        file: Where to keep it.
        sha256: The hash of what is expected.

    Returns:
        `file`.

    Raises:
        CoalmError: It cannot be fetched, or is another file. Nothing is kept of it.
    """
    if file.exists():
        return file
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as reply:
            content = reply.read()
    except (OSError, ValueError, http.client.HTTPException) as error:  # cut short, for one
        raise CoalmError(
            f"{address}: cannot be fetched ({error}); download it elsewhere and give the path of "
            "that copy in eval_kwargs.data"
        ) from error
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise CoalmError(f"{address}: the download is not the expected file; try again")
    write_bytes(file, content)
    return file
