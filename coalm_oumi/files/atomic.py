"""Writes files atomically. Imports nothing of Oumi, because `autoload` needs it before Oumi."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from coalm_oumi.core.errors import WriteError
from coalm_oumi.core.wording import printable


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Makes an `OSError` of the writes inside name the file.

    Example:
        >>> with writing(Path("plan.png")):
        ...     figure.savefig("plan.png")

    Raises:
        WriteError: The file cannot be written.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file under a temporary name, then renames it.

    Raises:
        WriteError: The file cannot be written. What was there before stays.
    """
    write_bytes(path, text.encode("utf-8"))


def write_page(path: Path, text: str) -> None:
    """Writes a text for people, with control characters escaped.

    Raises:
        WriteError: The file cannot be written. What was there before stays.
    """
    write_text(path, printable(text))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it.

    Raises:
        WriteError: The file cannot be written. What was there before stays.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def cache_dir() -> Path:
    """Returns the user's cache folder for this package."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "coalm_oumi"
