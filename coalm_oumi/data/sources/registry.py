"""Finds sources by name: the modules of this folder, and the sources of other packages.

Another package offers a source through an entry point whose value is a `Source`::

    [project.entry-points."coalm_oumi.sources"]
    greetings = "my_package.greetings:SOURCE"
"""

import hashlib
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Domain
from coalm_oumi.data.sources.reader import Reader, Source

GROUP = "coalm_oumi.sources"
"""The entry point group through which other packages add sources."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A source's name becomes a part of file names and of the dataset's name, `coalm-oumi/<name>`."""

_TAKEN = ("mixture", "mixture_grpo")
"""Datasets of this package that are not sources."""


@cache
def _own_sources() -> Mapping[str, Source]:
    """Imports the modules of this folder. Those with a constant `SOURCE` are sources."""
    sources: dict[str, Source] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        loaded = importlib.import_module(f"{__package__}.{module.name}")
        source = getattr(loaded, "SOURCE", None)
        if isinstance(source, Source):
            sources[module.name] = source
    return sources


@cache
def _added_sources() -> Mapping[str, Sequence[EntryPoint]]:
    """Returns the entry points of other packages by name, without importing what they name."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name in _TAKEN or not _NAME.fullmatch(point.name):
            warnings.warn(
                f"{point.value} of the entry point group `{GROUP}` is left out: `{point.name}` "
                "cannot be the name of a source. Use letters, digits, `_` and `-`, and neither of "
                f"{', '.join(_TAKEN)}",
                stacklevel=1,
            )
            continue
        points.setdefault(point.name, []).append(point)
    return points


def source_names() -> Sequence[str]:
    """Returns the names of all sources: those of this package first, then the added ones."""
    own = _own_sources()
    return [*own, *sorted(name for name in _added_sources() if name not in own)]


@cache
def find_source(name: str) -> Source:
    """Returns a source by name.

    Args:
        name: The name of a module in this folder, or of an entry point of another package.

    Raises:
        CoalmError: There is no such source, two packages offer it, or the package that offers it
            is broken.
    """
    own, added = _own_sources(), _added_sources().get(name, [])
    if name not in source_names():
        raise CoalmError(f"unknown source `{name}`; use some of {', '.join(source_names())}")
    if len(added) + (name in own) > 1:
        offers = ", ".join(point.value for point in added)
        raise CoalmError(
            f"source `{name}` is offered more than once ({offers}); rename an entry point of the "
            f"group `{GROUP}`, or uninstall a package"
        )
    return own[name] if name in own else _load(added[0])


def _load(point: EntryPoint) -> Source:
    where = f"source `{point.name}` (entry point {point.value} of the group `{GROUP}`)"
    try:
        source = point.load()
    except Exception as error:  # another package may raise anything
        raise CoalmError(f"{where}: cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(source, Source):
        raise CoalmError(
            f"{where}: expected an instance of coalm_oumi.data.sources.Source, found {source!r}"
        )
    options: Any = source.options
    if not (inspect.isclass(options) and issubclass(options, Options)):
        raise CoalmError(
            f"{where}: its options: expected a subclass of coalm_oumi.core.options.Options, found "
            f"{options!r}"
        )
    return source


def open_source(name: str, path: Path, options: Mapping[str, Any]) -> Reader:
    """Opens a source by name.

    Args:
        name: One of `source_names()`.
        path: Its raw file or folder.
        options: The source's own options, as a recipe gives them.

    Raises:
        CoalmError: There is no such source, it has no such option, an option has the wrong type,
            or the reader refuses the path.
    """
    source = find_source(name)
    return source.reader(path, source.options.read(options, where=f"source {name}"))


def domain_of(name: str, options: Mapping[str, Any]) -> Domain:
    """Returns the skill that a source's samples train. Its option `domain` may change it.

    Raises:
        CoalmError: As `open_source`.
    """
    source = find_source(name)
    values = source.options.read(options, where=f"source {name}")
    return getattr(values, "domain", source.domain)


def option_files(name: str, options: Mapping[str, Any]) -> Sequence[Path]:
    """Returns the files that a source's options name.

    Raises:
        CoalmError: As `open_source`.
    """
    values = find_source(name).options.read(options, where=f"source {name}")
    return [value for _, value in values if isinstance(value, Path)]


def code_hash(name: str) -> str:
    """Returns a hash of the code and templates behind a source that another package added.

    It is empty for a source of this package, whose samples `mixture.build.VERSION` covers.
    """
    if name in _own_sources():
        return ""
    digest = hashlib.sha256()
    for file in _code_of(find_source(name)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _code_of(source: Source) -> Sequence[Path]:
    reader_file = Path(inspect.getfile(source.reader))
    package = sys.modules[source.reader.__module__.partition(".")[0]]
    if package.__file__ is None or not hasattr(package, "__path__"):
        return [reader_file]  # a single module, or a namespace that others share
    folder = Path(package.__file__).parent
    files = [file for suffix in ("*.py", "*.jinja") for file in folder.rglob(suffix)]
    return sorted(files)
