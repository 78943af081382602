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

    validate = actions.add_parser("validate", help="find faulty dialogues (Appendix D)")
    _add_transcripts(validate)
    validate.add_argument(
        "--judge", type=Path, help="an Oumi judge, such as recipes/judge_cra.yaml"
    )
    validate.add_argument(
        "--people", type=Path, help="what `coalm cra review` exported, to compare with"
    )
    validate.add_argument("--output", type=Path, help="folder to write (validation/ beside them)")
    validate.set_defaults(action=_validate)

    review = actions.add_parser("review", help="let people judge a sample on a local page")
    _add_transcripts(review)
    review.add_argument("--sample", type=int, default=100, help="dialogues (%(default)s)")
    review.add_argument("--seed", type=int, default=0, help="seeds the sample (%(default)s)")
    review.add_argument("--output", type=Path, help="folder to write (review/ beside them)")
    review.add_argument("--port", type=int, default=8765, help="on 127.0.0.1 (%(default)s)")
    review.add_argument(
        "--export", action="store_true", help="write reviews.csv and .jsonl and stop"
    )
    review.set_defaults(action=_review)


def _add_transcripts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("transcripts", type=Path, help="what `coalm cra generate` wrote")
    parser.add_argument(
        "--sgd", type=Path, required=True, help="the split of SGD that they were made from"
    )
    parser.add_argument(
        "--functions",
        default="all",
        help="those that may be called: all, or dialogue (%(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    return options.action(options)


def _generate(options: argparse.Namespace) -> int:
    import asyncio

    from coalm_oumi.data.cra.generate import FAILED, TRANSCRIPTS, GenerateConfig, Generation
    from coalm_oumi.files.config import read_config

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
    return 2 if summary["unanswered"] else 0


def _validate(options: argparse.Namespace) -> int:
    from coalm_oumi.data.cra import judge, validation
    from coalm_oumi.files.jsontext import write_jsonl

    cases = validation.read_cases(options.transcripts, options.sgd, options.functions)
    folder = options.output or options.transcripts.parent / "validation"
    questions = {
        case.dialogue_id: judge.question(
            case.text, [function for function, _ in case.catalogue.values()]
        )
        for case in cases
    }
    write_jsonl(
        folder / "judge_input.jsonl",
        [{"dialogue_id": name, "request": text} for name, text in questions.items()],
    )
    judgements = (
        judge.judge(questions, options.judge, folder / "judgements.jsonl") if options.judge else {}
    )
    verdicts = validation.check(cases, judgements)
    agreements = (
        validation.agreement(verdicts, validation.read_reviews(options.people))
        if options.people
        else {}
    )
    validation.write(folder, cases, verdicts, agreements)
    print(validation.as_text(validation.rates(v.faults for v in verdicts), agreements))
    if options.judge:
        silent = len(cases) - len(judgements)
        unreadable = sum(judgement.is_faulty is None for judgement in judgements.values())
        if silent:
            print(f"{silent} dialogues that the judge did not answer; run again to ask for them")
        if unreadable:
            print(f"{unreadable} dialogues with an answer of the judge that cannot be read")
    print(f"{folder / validation.VALIDATION}: every finding, with its place")
    print(f"{folder / validation.VALID}: the transcripts without one")
    return 0


def _review(options: argparse.Namespace) -> int:
    from coalm_oumi.core.errors import CoalmError
    from coalm_oumi.data.cra import validation
    from coalm_oumi.files.atomic import write_text

    try:
        import uvicorn

        from coalm_oumi.data.cra.review import HOST, Reviews, app
    except ModuleNotFoundError as error:
        raise CoalmError(f"{error.name} is missing: pip install 'coalm-oumi[review]'") from error

    cases = validation.read_cases(options.transcripts, options.sgd, options.functions)
    folder = options.output or options.transcripts.parent / "review"
    reviews = Reviews.open(cases, folder / "journal.jsonl", size=options.sample, seed=options.seed)
    try:
        if not options.export:
            print(f"http://{HOST}:{options.port}/  (Ctrl+C ends it; answers are kept)", flush=True)
            uvicorn.run(app(reviews), host=HOST, port=options.port, log_level="warning")
    finally:
        reviews.journal.close()
        write_text(folder / "reviews.jsonl", reviews.as_jsonl())
        write_text(folder / "reviews.csv", reviews.as_csv())
    print(validation.as_text(reviews.rates(), {}))
    print(f"{folder / 'reviews.jsonl'}: {len(reviews.records())} of {len(reviews.cases)} reviewed")
    return 0
