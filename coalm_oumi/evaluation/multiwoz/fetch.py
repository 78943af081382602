"""Downloads MultiWOZ's files if a recipe gives their address."""

from pathlib import Path

from coalm_oumi.files.atomic import cache_dir
from coalm_oumi.files.download import fetch

DATABASES = ("restaurant", "hotel", "attraction", "train", "taxi", "hospital", "police")


def local_file(place: str) -> Path:
    """Returns a file: the path itself, or a copy of the address, fetched once.

    Raises:
        CoalmError: The address cannot be fetched.
    """
    return _fetched(place) if _is_address(place) else Path(place)


def local_databases(place: str) -> Path:
    """Returns the folder of `<domain>_db.json` files: the path itself, or a copy, fetched once.

    Raises:
        CoalmError: A file cannot be fetched.
    """
    if not _is_address(place):
        return Path(place)
    files = [_fetched(f"{place.rstrip('/')}/{domain}_db.json") for domain in DATABASES]
    return files[0].parent


def _is_address(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _fetched(address: str) -> Path:
    return fetch(address, cache_dir() / "multiwoz" / address.partition("://")[2])
