"""Adds the plugin to an `OUMI_EXTRA_DEPS_FILE` that the user has set to another file."""

import os
import stat
import sys
from pathlib import Path

from coalm_oumi.core.digest import digest_of_text
from coalm_oumi.files.atomic import cache_dir, write_text


def merged_file(own: str, *, line: str, variable: str) -> str:
    """Writes the user's lines and ours to one file.

    Args:
        own: The path that the user set.
        line: The line of this package.
        variable: The environment variable, for a warning.

    Returns:
        The merged file's path. The user's own path if that file names us already, cannot be read
        (Oumi reports that), or if no merged file can be written (a warning goes to standard error).
    """
    try:
        text = Path(own).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return own
    if line in (existing.strip() for existing in text.splitlines()):
        return own
    merged = f"{text.rstrip()}\n{line}\n"
    try:
        path = cache_dir() / f"extra_deps_{digest_of_text(merged)}.txt"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(path.parent)
        # The name is a hash, but only the content decides what Oumi would import.
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != merged:
            write_text(path, merged)
    except (OSError, RuntimeError) as error:
        print(
            f"coalm-oumi: {variable} is set to {own} and no merged copy can be written ({error}); "
            f"add the line `{line}` to that file to use coalm-oumi's datasets",
            file=sys.stderr,
        )
        return own
    return str(path)


def _check_private(folder: Path) -> None:
    """Refuses a folder that other users can write to: Oumi imports what the file in it names.

    Raises:
        PermissionError: Other users own it or can write to it.
    """
    state = folder.stat()
    if not hasattr(os, "getuid"):
        return
    if state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"other users can write to the folder {folder}")
