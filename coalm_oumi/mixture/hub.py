"""Sends a mixture to the Hugging Face Hub."""

from pathlib import Path

import huggingface_hub

from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import read_json
from coalm_oumi.mixture.store import CARD, MANIFEST, STATS


def push(folder: Path, repository: str) -> str:
    """Sends what a build wrote, and nothing else of its folder, in one commit.

    Args:
        folder: The folder.
        repository: `owner/name` of the data set. It is made, private, where there is none.

    Returns:
        Where it lies now.

    Raises:
        CoalmError: The hub refuses it or cannot be reached. The mixture stays on disk.
    """
    shards = read_json(folder / MANIFEST)["shards"]
    names = [name for group in shards.values() for name in group]
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[CARD, MANIFEST, *STATS, *names],
            delete_patterns=["*.parquet"],  # the shards of a larger mixture sent before
            commit_message="CoALM-IT, built with coalm-oumi",
        )
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = " ".join(str(error).split())
        raise CoalmError(
            f"{repository}: not sent to the Hugging Face Hub ({reason}); log in with `hf auth "
            f"login` and run `coalm build` again, or send {folder} yourself with `hf upload`"
        ) from error
    return commit.commit_url
