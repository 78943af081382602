"""`coalm cra`: generate, validate and review CRA dialogues."""

import typer

from coalm_oumi.cli.cra.generate import generate
from coalm_oumi.cli.cra.review import review
from coalm_oumi.cli.cra.validate import validate

__all__ = ["cra"]

cra = typer.Typer(
    name="cra", help="Generate CRA dialogues with a language model, validate and review them."
)
cra.command()(generate)
cra.command()(validate)
cra.command()(review)
