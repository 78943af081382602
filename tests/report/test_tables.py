import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from oumi.core.configs import EvaluationConfig

from coalm_oumi.core import paper as core_paper
from coalm_oumi.evaluation.bfcl.v3 import V3
from coalm_oumi.evaluation.bfcl.v4 import V4
from coalm_oumi.evaluation.bfcl.version import Version
from coalm_oumi.report import figures, paper, tables
from coalm_oumi.report.collect import Mixture, TaskResult
from coalm_oumi.report.intervals import interval
from coalm_oumi.report.saved import Manifest, Stats
from tests.conftest import REPO

PAPER = REPO.parent / "shared" / "paper" / "coalm.txt"


def result(task: str, run: str = "coalm_8b", **fields: Any) -> TaskResult:
    known = {"metrics": {}, "num_samples": 10, "seconds": 1.0, "answers": [], "evaluated": "m"}
    return TaskResult(model=run, task=task, **{**known, **fields})


def printed_rows(number: int) -> dict[str, list[float]]:
    """Reads the figures of a table's rows from the paper's text."""
    lines = PAPER.read_text().splitlines()
    end = next(n for n, line in enumerate(lines) if line.startswith(f"Table {number}:"))
    start = end - 1
    while not lines[start].startswith("|---") and not lines[start].startswith("|----"):
        start -= 1
    found = {}
    for line in lines[start + 1 : end]:
        cells = [re.sub(r"</?\w>|\(.*|%", "", cell).strip() for cell in line.split("|")[1:-1]]
        if len(cells) > 1 and all(re.fullmatch(r"[\d.]+|-", cell) for cell in cells[1:]):
            found[cells[0]] = [float(cell) for cell in cells[1:] if cell != "-"]
    return found


@pytest.mark.parametrize("number", paper.NUMBERS)
def test_every_number_is_the_papers(number: int):
    if not PAPER.is_file():
        pytest.skip("the paper's text is not beside this checkout (../shared/paper)")
    rows = list(printed_rows(number).values())
    ours = paper.table(number)
    assert [
        [row.values[key] for key in ours.columns if key in row.values] for row in ours.rows
    ] == rows
    assert len(rows) == {2: 15, 3: 12, 4: 11, 5: 5}[number]


def test_every_evaluation_recipe_is_named_as_its_row():
    runs = {row.run: row for number in paper.NUMBERS for row in paper.table(number).rows}
    for recipe in paper.evaluation_recipes():
        assert EvaluationConfig.from_yaml(REPO / recipe.file).output_dir == recipe.output_dir
    by_run = {recipe.run for recipe in paper.evaluation_recipes()}
    assert {"coalm_8b", "gpt_4o"} <= by_run & set(runs)
    assert not by_run & set(paper.models())
    assert {kind for run in runs if (kind := paper.kind_of(run))} == set(core_paper.read()["kinds"])
    assert all(paper.kind_of(run) for run in runs)


def test_missing_cells_have_the_command_that_gives_them():
    table = tables.all_tables([], [])[4]
    rows = {row.run: row for row in table.rows}
    assert rows["llama_3_1_8b"].commands == [
        "oumi evaluate -c recipes/eval_multiwoz.yaml --model.model_name "
        "meta-llama/Llama-3.1-8B-Instruct --output_dir output/eval/llama_3_1_8b",
        "oumi evaluate -c recipes/eval_api_bank.yaml --model.model_name "
        "meta-llama/Llama-3.1-8B-Instruct --output_dir output/eval/llama_3_1_8b",
        "oumi evaluate -c recipes/eval_bfcl_v3.yaml --model.model_name "
        "meta-llama/Llama-3.1-8B-Instruct --output_dir output/eval/llama_3_1_8b",
    ]
    assert rows["coalm_8b_wo_la"].commands[1] == (
        "oumi evaluate -c recipes/eval_api_bank.yaml --model.model_name "
        "meta-llama/Llama-3.1-8B-Instruct --model.adapter_model output/coalm_8b_wo_la "
        "--output_dir output/eval/coalm_8b_wo_la"
    )
    assert table.ours == 0
    (of_tod,) = (row for row in tables.all_tables([], [])[1].rows if row.run == "fnctod_13b")
    assert of_tod.commands == [], "only its own code scores it"


def test_every_command_names_a_recipe_that_is_there():
    for table in tables.all_tables([], []):
        for _, command in table.commands:
            for file in re.findall(r"recipes/\S+", command):
                assert (REPO / file).is_file(), command


def test_a_result_that_was_asked_otherwise_says_so_and_has_no_difference():
    metrics = {"rouge_l": 0.9}
    label = "coalm-oumi/api_bank/apibank_l1"
    native = result(label, metrics=metrics, style="native")
    hammer = result(label, metrics={"rouge_l": 0.8}, style="hammer")
    for found, value, asked in (([native], 90.0, "native"), ([native, hammer], 80.0, None)):
        table = tables.all_tables(found, [])[2]
        cell = table.rows[0].cells[0]
        assert cell.ours and (cell.ours.value, cell.asked) == (value, asked)
        assert (cell.difference is None) == (asked is not None)
        assert ("asked differently: native" in tables.as_markdown(table)) == (asked is not None)
        assert ("dagger" in tables.as_latex(table)) == (asked is not None)
        assert (table.comparable().ours == 0) == (asked is not None)
        assert any("eval_api_bank" in c for c in table.rows[0].commands)  # for the other columns


def test_what_was_asked_otherwise_is_neither_best_nor_drawn():
    """A model asked with tools would lead Table 4 otherwise."""
    found = [
        result("coalm-oumi/bfcl_v3", metrics={"overall": score}, style=style, run=run)
        for run, score, style in (
            ("coalm_8b", 0.5, "official"), ("llama_3_1_8b", 0.4, "official"),
            ("mistral_7b", 0.9, "native"),
        )
    ]  # fmt: skip
    table = tables.all_tables(found, [])[3]
    cells = {row.run: row.cells[0] for row in table.rows}
    assert cells["coalm_8b"].ours == tables.Number(50.0, "best")
    assert cells["llama_3_1_8b"].ours == tables.Number(40.0, "second")
    assert cells["mistral_7b"].ours == tables.Number(90.0)
    assert cells["mistral_7b"].asked == "native"
    figure = figures.paper_bars(table.comparable())
    assert figure and "50.0 ours" in figure.alt
    assert "90.0" not in figure.alt


def test_both_readings_of_success_stand_in_table_2():
    metrics = {"success": 0.5, "success_c2r_official": 0.6}
    found = [
        result("coalm-oumi/multiwoz/2.4/corpus/autotod", metrics=metrics),
        result("coalm-oumi/multiwoz/2.4/reference/autotod", metrics={"joint_goal_accuracy": 0.3}),
    ]
    cells = tables.all_tables(found, [])[1].rows[0].cells
    assert [cell.ours and cell.ours.value for cell in cells] == [60.0, 30.0, 50.0]
    assert [cell.paper and cell.paper.value for cell in cells] == [51.6, 30.4, None]


def test_models_behind_an_api_have_the_api_s_recipe():
    rows = {row.run: row for row in tables.all_tables([], [])[1].rows}
    assert rows["gpt_4o_mini"].commands == [
        "oumi evaluate -c recipes/multiwoz/openai.yaml --model.model_name gpt-4o-mini-2024-07-18 "
        "--output_dir output/eval/gpt_4o_mini"
    ]
    assert rows["coalm_70b"].commands == [
        "oumi evaluate -c recipes/eval_multiwoz.yaml --model.model_name uiuc-convai/CoALM-70B "
        "--output_dir output/eval/coalm_70b"
    ]


def test_ours_stands_beside_the_papers():
    answers = [
        {
            "input": "",
            "target": "",
            "correct": n < 6,
            "unreadable": None,
            "rouge_l": 100.0 * (n < 9),
        }
        for n in range(10)
    ]
    metrics = {"rouge_l": 0.9, "ast_match": 0.6}
    found = [
        result("coalm-oumi/api_bank/apibank_l1", answers=answers, metrics=metrics),
        result("coalm-oumi/api_bank/apibank_l1", run="mine", metrics={"rouge_l": 0.95}),
        result("coalm-oumi/multiwoz/2.1/corpus/coalm", metrics={"success": 1.0}),
        result("coalm-oumi/multiwoz/2.4/simulated/autotod", metrics={"success": 1.0}),
        result("coalm-oumi/multiwoz/2.4/corpus/coalm", metrics={"success": 1.0}),
    ]
    _, multiwoz, api_bank, *_ = tables.all_tables(found, [])
    assert multiwoz.ours == 0, "another version, form or user is another benchmark"
    cell = api_bank.rows[0].cells[0]
    assert cell.paper and cell.ours and cell.interval and cell.difference is not None
    assert (cell.paper.value, cell.ours.value, cell.ours.mark) == (92.8, 90.0, "second")
    assert cell.difference == pytest.approx(-2.8)
    assert cell.interval[0] < 90 < cell.interval[1] <= 100
    assert (cell.samples, cell.whole) == (10, 399)
    assert api_bank.rows[-1].name == "mine"
    assert api_bank.rows[-1].cells[0].ours == tables.Number(95.0, "best")
    (line,) = (
        row
        for row in csv.DictReader(io.StringIO(tables.as_csv(api_bank)))
        if (row["run"], row["column"]) == ("coalm_8b", "Rouge-L L-1")
    )
    assert (line["paper"], line["ours"], line["samples"], line["whole"]) == (
        "92.8",
        "90.0",
        "10",
        "399",
    )
    assert "<u>92.8</u> | <u>90.0</u> (\u22122.8; 95 % " in tables.as_markdown(api_bank)
    latex = tables.as_latex(api_bank)
    assert r"CoALM 8B & \underline{92.8} & \underline{90.0}" in latex
    assert latex.count(r"\\") == len(api_bank.rows) + 2
    assert latex.count("&") == (len(api_bank.rows) + 1) * 16 + 8


def test_the_best_and_second_best_of_a_column():
    table = tables.all_tables([], [])[2]
    marks = {row.run: row.cells[1].paper.mark for row in table.rows if row.cells[1].paper}
    assert marks["coalm_70b"] == "best" and marks["coalm_8b"] == "second"
    assert [row.run for row in table.rows if row.cells[2].paper.mark == "best"] == [  # pyright: ignore
        "coalm_70b", "coalm_405b",
    ]  # fmt: skip


def test_the_notes_of_table_5_are_true():
    """What the note says of the changes that the paper prints wrongly."""
    rows = {row.run: row.values for row in paper.table(5).rows}
    base = rows["llama_3_1_8b"]
    assert rows["coalm_8b_wo_tod"]["rouge_l_2"] - base["rouge_l_2"] == pytest.approx(3.7)
    assert rows["coalm_8b_wo_cra"]["overall"] - base["overall"] == pytest.approx(6.8)
    assert rows["coalm_8b"]["success"] - rows["coalm_8b_wo_cra"]["success"] == pytest.approx(1.6)


def test_table_1_counts_with_or_without_tokens():
    samples = {"train": {"snips": 3, "sgd": 2}, "validation": {"snips": 1}}
    manifest = Manifest(samples=samples)
    table = tables.all_tables([], [Mixture("data", manifest, None, None)])[0]
    rows = {row.name: [cell.ours and cell.ours.value for cell in row.cells] for row in table.rows}
    assert rows["snips"] == [4, None, None] and rows["total"] == [6, None, None]
    assert rows["hammer"] == [None, None, None]
    assert table.commands == [("its tokens", "coalm stats data")]
    source = {"source": "snips", "samples": 4, "tokens": 40, "tokens_per_sample": 10.0}
    stats = Stats.read({"window": 4096, "sources": [source]}, where="stats.json")
    mixture = Mixture("data", manifest, stats, None)
    assert [c.ours and c.ours.value for c in tables.all_tables([], [mixture])[0].rows[0].cells] == [
        4, 40, 10.0,
    ]  # fmt: skip
    assert tables.all_tables([], [mixture, mixture])[0].ours == 0


def test_the_bootstrap_agrees_with_the_normal_interval():
    answers = [{"correct": n < 300, "unreadable": None} for n in range(1000)]
    found = interval(result("t", answers=answers, metrics={"ast_match": 0.3}), "ast_match")
    assert found is not None
    margin = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert found == pytest.approx((0.3 - margin, 0.3 + margin), abs=0.003)
    assert found == interval(result("t", answers=answers, metrics={"ast_match": 0.3}), "ast_match")


def test_micro_averages_are_drawn_from_the_counts_of_each_sample():
    """Precision of 30 states with one or two slots, beside what resampling by hand gives."""
    counts = [(n % 3 > 0, 1 + n % 2) for n in range(30)]
    answers = [{"correct": False, "parts": {"slot_precision": list(c)}} for c in counts]
    value = sum(hit for hit, _ in counts) / sum(guessed for _, guessed in counts)
    found = interval(
        result("t", answers=answers, metrics={"slot_precision": value}), "slot_precision"
    )
    random_ = random.Random(1)
    drawn = []
    for _ in range(4000):
        some = random_.choices(counts, k=len(counts))
        drawn.append(sum(hit for hit, _ in some) / sum(guessed for _, guessed in some))
    drawn.sort()
    assert found == pytest.approx((drawn[100], drawn[-101]), abs=0.02)
    rare = [{"correct": True, "parts": {"p": [1, 1]}}, {"correct": True, "parts": {"p": [0, 0]}}]
    assert interval(result("t", answers=rare, metrics={"p": 1.0}), "p") == (0.0, 1.0)


def test_dialogues_are_drawn_whole():
    """Turns of one dialogue that are all right or all wrong are one observation, not many."""
    answers = [{"success": None, "turns": 10, "turns_right": 10 * (n % 2)} for n in range(40)]
    found = result("m", answers=answers, metrics={"joint_goal_accuracy": 0.5, "success": 0.5})
    bounds = interval(found, "joint_goal_accuracy")
    assert bounds is not None and bounds[1] - bounds[0] > 0.28
    assert interval(found, "success") is None, "no dialogue has a verdict"


@pytest.mark.parametrize("version", [V3, V4], ids=lambda version: version.name)
def test_bfcl_is_drawn_by_category(version: Version):
    random_ = random.Random(0)
    categories = [*version.groups["all"]]
    answers = [
        {"source": name, "correct": random_.random() < 0.6, "unreadable": None}
        for name in categories
        for _ in range(20)
    ]
    shares = {
        name: sum(row["correct"] for row in answers if row["source"] == name) / 20
        for name in categories
    }
    sizes = dict.fromkeys(categories, 200)
    one = f"category/{categories[1]}"
    metrics = {**version.columns(shares, sizes), one: shares[categories[1]]}
    found = result(version.task, answers=answers, metrics=metrics, sizes=sizes)
    for metric in ("overall", "live", "multi_turn", one):
        bounds = interval(found, metric)
        assert bounds is not None and bounds[0] < metrics[metric] < bounds[1]
    overall, single = interval(found, "overall"), interval(found, one)
    assert overall and single and overall[1] - overall[0] < single[1] - single[0]


def test_no_interval_where_samples_do_not_tell():
    alike = [{"correct": False, "unreadable": None}] * 5
    assert interval(result("t", answers=alike, metrics={"ast_match": 0.0}), "ast_match") is None
    of_another_run = result("t", answers=alike, metrics={"ast_match": 0.4})
    assert interval(of_another_run, "ast_match") is None
    assert interval(result("t", metrics={"argument_f1": 0.4}), "argument_f1") is None
    harness = result("mmlu", metrics={"acc": 0.4}, errors={"acc": 0.01})
    assert interval(harness, "acc") == pytest.approx((0.3804, 0.4196))


def test_paper_yaml_is_data_alone():
    text = (REPO / "coalm_oumi/core/paper.yaml").read_text()
    assert json.loads(json.dumps(yaml.safe_load(text))) == yaml.safe_load(text)


def test_tables_are_written_with_their_numbers(tmp_path: Path):
    for table in tables.all_tables([], []):
        rows = list(csv.reader(io.StringIO(tables.as_csv(table))))
        assert len(rows) == 1 + len(table.rows) * len(table.columns)
