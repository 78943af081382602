"""Finds the prompts, recipes and sample data.

Prompts and recipes are top-level folders of the repository. In a wheel they are inside the package.
"""
# pyright: standard

import re
from functools import cache
from pathlib import Path

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import one_line
from coalm_oumi.files.records import SUFFIXES

SAMPLES = "samples:"
"""The prefix of a path to one of the small raw files of the package."""

HUB = "hub:"
"""The prefix of a path to a data set on the Hub: `hub:owner/name@revision/folder`."""

_PACKAGE = Path(__file__).resolve().parents[1]


def resource_dir(name: str) -> Path:
    """Returns the folder `prompts`, `recipes` or `samples`, from a wheel or a checkout.

    Args:
        name: The folder's name.

    Returns:
        The folder's absolute path.

    Raises:
        FileNotFoundError: The installation lacks the folder.
    """
    for folder in (_PACKAGE / name, _PACKAGE.parent / name, _PACKAGE / "data" / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"coalm-oumi was installed without its `{name}` folder (looked in {_PACKAGE} and its "
        "parent). Reinstall it: pip install --force-reinstall --no-deps coalm-oumi"
    )


def check_recipe(file: Path) -> None:
    """Checks that a recipe exists.

    Raises:
        CoalmError: There is no such file.
    """
    if not file.is_file():
        raise CoalmError(f"{file}: no such file; `coalm recipes --copy` writes the recipes here")


def resolve(path: str) -> Path:
    """Returns the path that a configuration names. Data on the Hub is downloaded first.

    Raises:
        CoalmError: The Hub does not have it, or cannot be reached.
    """
    if path.startswith(SAMPLES):
        return resource_dir("samples") / path.removeprefix(SAMPLES)
    if path.startswith(HUB):
        return _from_hub(path)
    return Path(path)


@cache
def _from_hub(path: str) -> Path:
    import huggingface_hub

    match = re.fullmatch(rf"{HUB}([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?", path)
    if match is None:
        raise CoalmError(f"{path}: expected {HUB}owner/name, with @revision or /folder after it")
    repository, revision, inside = match.groups()
    try:
        folder = huggingface_hub.snapshot_download(
            repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],
        )
    except Exception as error:  # the Hub client raises errors of many libraries
        raise CoalmError(
            f"{path}: unavailable from the Hugging Face Hub ({one_line(error)}). Give a path on "
            "disk, or, if the data set is gated, log in with `hf auth login`"
        ) from error
    return Path(folder) / (inside or "")
