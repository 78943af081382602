"""`coalm cra generate`, `coalm cra validate` and `coalm cra review`."""

import argparse
from pathlib import Path

HELP = "generate CRA dialogues with a language model, validate and review them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    generate = actions.add_parser("generate", help="turn SGD into CRA dialogues (Table 6)")
    generate.add_argument("-c", "--config", type=Path, required=True, help="a recipes/cra/*.yaml")
    generate.add_argument("--dry-run", action="store_true", help="print the estimate and stop")
    generate.add_argument("--max-usd", type=float, help="stop before more than this is spent")
    generate.add_argument(
        "--retry-failed", action="store_true", help="ask again where an answer could not be read"
    )
    generate.add_argument("--batch", action="store_true", help="OpenAI's Batch API, half price")
    generate.add_argument(
        "--poll", type=float, default=30, metavar="SECONDS", help="look at a batch every ... s"
    )
    generate.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the YAML")
    generate.set_defaults(action=_generate)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    return options.action(options)


def _generate(options: argparse.Namespace) -> int:
    import asyncio

    from coalm_oumi.config import read_config
    from coalm_oumi.cra.generate import FAILED, TRANSCRIPTS, GenerateConfig, Generation

    with Generation(read_config(GenerateConfig, options.config, options.changes)) as generation:
        estimate = generation.estimate(retry_failed=options.retry_failed, batch=options.batch)
        print(f"{generation.endpoint.model}: {estimate}", flush=True)
        if options.dry_run:
            return 0
        try:
            asyncio.run(
                generation.run(
                    max_usd=options.max_usd,
                    retry_failed=options.retry_failed,
                    batch=options.batch,
                    poll_seconds=options.poll,
                )
            )
        finally:
            summary = generation.write()
            folder = generation.folder
            print(f"{folder / TRANSCRIPTS}: {summary['transcripts']} of {summary['dialogues']}")
            left = summary["failed"] + summary["unanswered"]
            if left:
                print(
                    f"{folder / FAILED}: {summary['failed']} answers that could not be read, "
                    f"{summary['unanswered']} dialogues without one"
                )
    return 0 if not left else 2
