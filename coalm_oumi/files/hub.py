"""Pushes models and data sets to the Hugging Face Hub."""

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
    """Pushes files of a folder in one commit.

    Args:
        folder: The folder.
        repository: `owner/name`. If it does not exist, it is created as a private repository.
        kind: The kind of the repository.
        files: Names or patterns of the files to push.
        stale: Patterns of files of earlier commits to delete, unless they are pushed again.
        message: The commit's message.

    Returns:
        The address of the repository.

    Raises:
        CoalmError: The Hub refuses it or cannot be reached. Everything stays on disk.
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
    except Exception as error:  # the Hub's client raises errors of many libraries
        raise CoalmError(
            f"{repository}: not pushed to the Hugging Face Hub ({one_line(error)}); log in with "
            f"`hf auth login` and run the command again, or push {folder} yourself with `hf upload`"
        ) from error
    return commit.commit_url
