"""`coalm recipes`."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.rendering.terminal import say, show, table


def recipes(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Only recipes with this in their path, such as 8b"
        ),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy them into FOLDER/recipes")] = False,
    to: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where --copy writes (default: here)")
    ] = Path(),
) -> None:
    """List the package's recipes, or copy them to edit and run them.

    A file that exists with different content is never overwritten.
    """
    home = resource_dir("recipes")
    suffixes = (".yaml", ".md") if copy else (".yaml",)  # with the READMEs that recipes' heads name
    chosen: list[Path] = []
    for file in sorted(home.rglob("*.*")):
        path = file.relative_to(home)
        wanted = not names or any(name in str(path) for name in names)
        if wanted and path.suffix in suffixes:
            chosen.append(path)
    if not chosen:
        raise CoalmError(
            f"no recipe has {' or '.join(names or [])} in its path; `coalm recipes` lists all"
        )
    if copy:
        _copy(home, chosen, to / "recipes")
        return
    listing = table("recipe")
    listing.add_column("what it does")
    for path in chosen:
        listing.add_row(f"recipes/{path}", _head(home / path))
    show(listing)


def _head(file: Path) -> str:
    """Returns the first sentence of a recipe's head."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    first, end, _ = " ".join(lines).partition(". ")
    return first.removesuffix(".") if not end else first


def _copy(home: Path, chosen: list[Path], target: Path) -> None:
    if target.resolve() == home.resolve():
        raise CoalmError(
            f"{target}: these are the package's recipes; give another folder with --to"
        )
    changed = [
        path
        for path in chosen
        if (target / path).exists() and (target / path).read_bytes() != (home / path).read_bytes()
    ]
    if changed:
        raise CoalmError(f"{target / changed[0]}: exists with different content; move it away")
    for path in chosen:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / path, target / path)
    say(f"{target}: {sum(path.suffix == '.yaml' for path in chosen)} recipes")
