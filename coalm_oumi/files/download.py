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
        sha256: The expected hash.

    Returns:
        `file`.

    Raises:
        CoalmError: It cannot be downloaded, or is not the expected file. Nothing is kept.
    """
    if file.exists():
        return file
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as reply:
            content = reply.read()
    except (OSError, ValueError, http.client.HTTPException) as error:  # cut short, for one
        raise CoalmError(
            f"{address}: cannot be downloaded ({error}); download it elsewhere and give the path "
            "of that copy in eval_kwargs.data"
        ) from error
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise CoalmError(f"{address}: the download is not the expected file; try again")
    write_bytes(file, content)
    return file
