"""`coalm cra validate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.cra.transcripts import Functions, Sgd, Transcripts
from coalm_oumi.rendering.terminal import say


def validate(
    transcripts: Transcripts,
    sgd: Sgd,
    functions: Functions = "all",
    judge: Annotated[
        Path | None, typer.Option(help="An Oumi judge, such as recipes/judge_cra.yaml")
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="Reviews from `coalm cra review`, to compare with the findings"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to write (default: validation/ beside the transcripts)"),
    ] = None,
) -> None:
    """Find faulty dialogues (Appendix D)."""
    from coalm_oumi.data.cra import judge as judging
    from coalm_oumi.data.cra import validation
    from coalm_oumi.data.cra.validate import Dimension
    from coalm_oumi.files.jsontext import write_jsonl
    from coalm_oumi.rendering.terminal import show

    cases = validation.read_cases(transcripts, sgd, functions)
    folder = output or transcripts.parent / "validation"
    questions: dict[str, str] = {}
    for case in cases:
        known = [function for variants in case.catalogue.values() for function, _ in variants]
        questions[case.dialogue_id] = judging.question(case.text, known)
    write_jsonl(
        folder / "judge_input.jsonl",
        [{"dialogue_id": name, "request": text} for name, text in questions.items()],
    )
    judgements: Mapping[str, judging.Judgement] = {}
    if judge:
        judgements = judging.judge(questions, judge, folder / "judgements.jsonl")
    verdicts = validation.check(cases, judgements)
    agreements: Mapping[Dimension, validation.Agreement] = {}
    if people:
        agreements = validation.agreement(verdicts, validation.read_reviews(people))
    validation.write(folder, cases, verdicts, agreements)
    show(validation.rates_table(validation.rates(verdict.faults for verdict in verdicts)))
    if agreements:
        show(validation.agreement_table(agreements))
    if judge:
        silent = len(cases) - len(judgements)
        unreadable = sum(judgement.is_faulty is None for judgement in judgements.values())
        if silent:
            say(f"{silent} dialogues that the judge did not answer; run again to ask for them")
        if unreadable:
            say(f"{unreadable} dialogues for which the judge's answer is unreadable")
    say(f"{folder / validation.VALIDATION}: every finding, with its place")
    say(f"{folder / validation.VALID}: the transcripts without findings")
