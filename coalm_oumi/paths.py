"""Where the prompts, recipes and sample data lie.

Prompts and recipes are top-level folders of the repository, and parts of the package in a wheel.
"""

from pathlib import Path

SAMPLES = "samples:"
"""A path in a configuration that starts so lies among the small raw files of the package."""

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Returns the folder `prompts`, `recipes` or `samples`, from a wheel or a checkout.

    Args:
        name: The folder's name.

    Returns:
        The folder's absolute path.

    Raises:
        FileNotFoundError: The installation lacks the folder.
    """
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"coalm-oumi was installed without its `{name}` folder (looked in {_PACKAGE} and its "
        "parent). Reinstall it: pip install --force-reinstall --no-deps coalm-oumi"
    )


def resolve(path: str) -> Path:
    """Returns the path that a configuration means."""
    if path.startswith(SAMPLES):
        return resource_dir("samples") / path.removeprefix(SAMPLES)
    return Path(path)
