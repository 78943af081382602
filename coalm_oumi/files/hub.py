"""Sends what this package made to the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import huggingface_hub

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import one_line


def push(
    folder: Path,
    repository: str,
    *,
    kind: Literal["dataset", "model"],
    files: Sequence[str],
    stale: Sequence[str] = (),
    message: str,
) -> str:
    """Sends files of a folder in one commit.

    Args:
        folder: The folder.
        repository: `owner/name`. It is made, private, if there is none.
        kind: What the repository holds.
        files: The names of the files, or patterns of them. Others stay here.
        stale: Patterns of files of an earlier commit that go, unless they are sent again.
        message: The commit's message.

    Returns:
        Where it is now.

    Raises:
        CoalmError: The hub refuses it or cannot be reached. Everything stays on disk.
    """
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(repository, repo_type=kind, private=True, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=folder,
            allow_patterns=list(files),
            ignore_patterns=["*/*"],
            delete_patterns=list(stale) or None,
            commit_message=message,
        )
    except Exception as error:  # the hub's client raises errors of many libraries
        raise CoalmError(
            f"{repository}: not sent to the Hugging Face Hub ({one_line(error)}); log in with "
            f"`hf auth login` and run the command again, or send {folder} yourself with `hf upload`"
        ) from error
    return commit.commit_url
