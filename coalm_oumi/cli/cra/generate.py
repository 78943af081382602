"""`coalm cra generate`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Changes, recipe_option
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering.terminal import say


def generate(
    config: Annotated[Path, recipe_option("A recipe such as recipes/cra/gpt4o.yaml")],
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimate and stop")] = False,
    max_usd: Annotated[
        float | None, typer.Option(help="A budget in US dollars for all runs together")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again for answers that could not be read")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Use OpenAI's Batch API, at half the price")
    ] = False,
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds between two checks of a batch")
    ] = 30,
) -> None:
    """Turn SGD into CRA dialogues (Table 6)."""
    from coalm_oumi.data.cra.generate import FAILED, TRANSCRIPTS, GenerateConfig, Generation
    from coalm_oumi.files.config import read_config

    with Generation(read_config(GenerateConfig, config, changes or [])) as generation:
        estimate = generation.estimate(retry_failed=retry_failed, batch=batch)
        say(f"{generation.endpoint.model}: {estimate}")
        if dry_run:
            return
        run = generation.run(
            max_usd=max_usd, retry_failed=retry_failed, batch=batch, poll_seconds=poll
        )
        try:
            asyncio.run(run)
        finally:
            summary = generation.write()
            folder = generation.folder
            say(f"{folder / TRANSCRIPTS}: {summary['transcripts']} of {summary['dialogues']}")
            left = summary["failed"] + summary["unanswered"]
            if left:
                say(
                    f"{folder / FAILED}: {summary['failed']} unreadable answers, "
                    f"{summary['unanswered']} dialogues without an answer"
                )
    if summary["unanswered"]:
        raise typer.Exit(2)
    if not summary["transcripts"]:
        raise CoalmError(f"{folder / FAILED}: no answer can be read; see the reasons there")
