"""`coalm cra review`."""

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.cra.transcripts import Functions, Sgd, Transcripts
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering.terminal import say


def review(
    transcripts: Transcripts,
    sgd: Sgd,
    functions: Functions = "all",
    sample: Annotated[int, typer.Option(help="Number of dialogues to review")] = 100,
    seed: Annotated[int, typer.Option(help="Seeds the choice of dialogues")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to write (default: review/ beside the transcripts)"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 8765,
    export: Annotated[
        bool, typer.Option("--export", help="Write reviews.csv and reviews.jsonl, and stop")
    ] = False,
) -> None:
    """Let people judge a sample on a local page."""
    from coalm_oumi.data.cra import validation
    from coalm_oumi.files.atomic import write_page, write_text
    from coalm_oumi.rendering.terminal import show

    try:
        import uvicorn

        from coalm_oumi.data.cra.review import HOST, Reviews, app
    except ModuleNotFoundError as error:
        raise CoalmError(f"{error.name} is missing: pip install 'coalm-oumi[review]'") from error

    cases = validation.read_cases(transcripts, sgd, functions)
    folder = output or transcripts.parent / "review"
    reviews = Reviews.open(cases, folder / "journal.jsonl", size=sample, seed=seed)
    try:
        if not export:
            say(f"http://{HOST}:{port}/  (Ctrl-C stops the server; answers are kept)")
            uvicorn.run(app(reviews), host=HOST, port=port, log_level="warning")
    finally:
        reviews.journal.close()
        write_text(folder / "reviews.jsonl", reviews.as_jsonl())
        write_page(folder / "reviews.csv", reviews.as_csv())
    show(validation.rates_table(reviews.rates()))
    say(f"{folder / 'reviews.jsonl'}: {len(reviews.records())} of {len(reviews.cases)} reviewed")
