"""Renders the Jinja templates of the `prompts` folder, which holds the text of every prompt."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.formats.calls import to_python

PAGE_STYLE = Path(__file__).parent
"""The folder of `style.jinja`, which all pages include."""


class PromptError(CoalmError):
    """A template that does not exist, or lacks a field."""


def templates(*folders: Path, autoescape: bool = False) -> jinja2.Environment:
    """Returns the Jinja templates of folders, with the settings of this package.

    A missing field is an error. Lines of statements leave no blank lines.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=autoescape,
    )


@cache
def _environment() -> jinja2.Environment:
    environment = templates(resource_dir("prompts"))
    environment.filters["json"] = dumps
    environment.filters["python"] = to_python
    return environment


@cache
def _template(name: str) -> jinja2.Template:
    try:
        return _environment().get_template(f"{name}.jinja")
    except jinja2.TemplateNotFound as error:
        raise PromptError(
            f"prompts/{error.name} does not exist; the templates are {', '.join(names())}"
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"prompts/{error.filename}:{error.lineno}: {error.message}") from error


def names() -> Sequence[str]:
    """Returns the names of all templates, without the suffix."""
    return sorted(template.removesuffix(".jinja") for template in _environment().list_templates())


def render(name: str, /, **fields: Any) -> str:
    """Renders one template.

    Args:
        name: The template's file name in `prompts`, without `.jinja`.
        **fields: The template's fields. A missing field is an error, never empty text.

    Returns:
        The text, without leading and trailing white space.

    Raises:
        PromptError: No such template, or a field is missing.
    """
    try:
        return _template(name).render(**fields).strip()
    except jinja2.UndefinedError as error:
        raise PromptError(f"prompts/{name}.jinja: {error.message}") from error


def fingerprint(*chosen: str) -> str:
    """Returns a hash of templates, to tell apart data rendered from different ones.

    Args:
        *chosen: Their names; all templates if none is given.
    """
    digest = hashlib.sha256()
    for name in chosen or names():
        text = (resource_dir("prompts") / f"{name}.jinja").read_bytes()
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def fingerprint_of(chosen: Sequence[str]) -> str:
    """Returns the short fingerprint of templates that results record, in any order of names."""
    return fingerprint(*sorted(chosen))[:12]
