"""`coalm cra`: generate CRA dialogues, validate them and have people review them."""

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
