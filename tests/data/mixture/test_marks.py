"""The published mixture has no columns but instruction, input and output."""

import datasets

from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra.dialogue import ApiStep, CraDialogue, CraTurn
from coalm_oumi.data.cra.dialogue import samples as cra_samples
from coalm_oumi.data.mixture.marks import UNKNOWN, with_origin
from coalm_oumi.data.mixture.select import Selection, select
from coalm_oumi.data.sources import hammer, read, snips, toolace
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.formats.calls import FunctionCall

SAMPLES = resource_dir("samples")


def published() -> tuple[datasets.Dataset, list[Sample]]:
    """Returns samples of every source without their origin, one without a mark, and the samples."""
    turns = [
        CraTurn(f"Hello {n}", "A thought.", ApiStep(FunctionCall("f"), "[]", "A thought."), "Hi.")
        for n in range(3)
    ]
    readers = [
        snips.Snips(SAMPLES / "snips"),
        hammer.Hammer(SAMPLES / "xlam"),
        toolace.ToolAce(SAMPLES / "toolace"),
    ]
    made = [s for reader in readers for s in read(reader) if isinstance(s, Sample)]
    for number in range(40):
        first = CraTurn(f"I want number {number}", "A thought.", None, "Which one?")
        dialogue = CraDialogue(f"sgd/{number}", [], [first, *turns])
        made += [s for s in cra_samples(dialogue) if isinstance(s, Sample)]
    rows = [{"instruction": s.instruction, "input": s.input, "output": s.output} for s in made]
    rows.append({"instruction": "Translate.", "input": "Bonjour", "output": "Hello"})
    return datasets.Dataset.from_list(rows), made


def test_every_source_is_recognised_by_its_mark():
    table, made = published()
    marked = with_origin(table, "hub")
    assert marked["source"][:-1] == [sample.source for sample in made]
    assert marked["domain"][:-1] == [sample.domain for sample in made]
    assert marked["source"][-1] == marked["domain"][-1] == UNKNOWN


def test_unmarked_rows_are_counted_and_named(caplog):
    table, made = published()
    with caplog.at_level("WARNING", logger="oumi"):
        with_origin(table, "hub")
    said = " ".join(record.getMessage() for record in caplog.records)
    total = len(made) + 1
    assert f"hub: 1 of {total} records carry no mark" in said
    assert f"the first {len(made)};" in said


def test_domains_and_sources_are_chosen_by_mark():
    table, made = published()
    for domain in ("tod", "la", "cra"):
        chosen = select(table, Selection(domains=[domain]), place="hub", split=None)
        assert len(chosen) == sum(sample.domain == domain for sample in made)
    chosen = select(table, Selection(sources=["toolace"]), place="hub", split=None)
    assert len(chosen) == sum(sample.source == "toolace" for sample in made)


def test_a_conversation_is_held_out_as_a_whole():
    table, _ = published()
    some = Selection(validation_fraction=0.3)
    held_out = select(table, some, place="hub", split="validation")
    kept = select(table, some, place="hub", split="train")
    assert len(held_out) + len(kept) == len(table)
    conversations = [
        {
            text.split("I want number ")[1].split("\n")[0]
            for text in texts
            if "I want number" in text
        }
        for texts in (
            [f"{row['instruction']}\n{row['input']}" for row in split] for split in (held_out, kept)
        )
    ]
    assert conversations[0] and conversations[1]
    assert not conversations[0] & conversations[1]


def test_data_without_any_mark_stays_as_it_is():
    table = datasets.Dataset.from_list([{"instruction": "a", "input": "b", "output": "c"}])
    assert with_origin(table, "own").column_names == ["instruction", "input", "output"]
