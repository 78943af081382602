"""Shows a run to people: a table of all dialogues, and a page with each of them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from coalm_oumi.core.digest import digest_of_text
from coalm_oumi.evaluation.multiwoz.judge import METRICS, overall
from coalm_oumi.evaluation.multiwoz.result import JudgedDialogue
from coalm_oumi.evaluation.multiwoz.values import DOMAINS
from coalm_oumi.files.atomic import write_page
from coalm_oumi.rendering.prompts import PAGE_STYLE, templates

_COLUMNS = ("success", "joint_goal_accuracy", "inform", "book")


def write(
    folder: Path, title: str, judged: Sequence[JudgedDialogue], metrics: Mapping[str, float]
) -> Path:
    """Writes `index.html` and `dialogues/<name>.html`.

    Args:
        folder: Where to.
        title: What was run.
        judged: The dialogues.
        metrics: The run's metrics, shares in [0, 1].

    Returns:
        The index.
    """
    environment = templates(Path(__file__).parent, PAGE_STYLE, autoescape=True)
    shared = {"title": title, "metric_names": METRICS}
    transcript = environment.get_template("transcript.jinja")
    rows: list[dict[str, object]] = []
    for entry in judged:
        name = f"dialogues/{_file_name(entry.dialogue.dialogue_id)}.html"
        row: dict[str, object] = {"entry": entry, "file": name, "overall": overall(entry.verdicts)}
        write_page(folder / name, transcript.render(**shared, **row))
        rows.append(row)
    index = folder / "index.html"
    table = environment.get_template("index.jinja")
    write_page(index, table.render(**shared, rows=rows, **_metric_table(metrics)))
    return index


def _metric_table(metrics: Mapping[str, float]) -> dict[str, object]:
    """Arranges the metrics: those of each level in a row, the others beside the table."""
    by_llm = [f"llm_{name}" for name in METRICS if f"llm_{name}" in metrics]
    columns = [*_COLUMNS, *by_llm]
    prefixes = {"dialogues": "", "single domains": "domain_"} | {d: f"{d}_" for d in DOMAINS}
    levels: list[dict[str, object]] = []
    others = dict(metrics)
    for level, prefix in prefixes.items():
        names = [_metric_name(prefix, column) for column in columns]
        levels.append({"name": level, "shares": [metrics.get(name) for name in names]})
        for name in names:
            others.pop(name, None)
    return {"columns": columns, "levels": levels, "others": others}


def _metric_name(prefix: str, column: str) -> str:
    if column.startswith("llm_"):
        return f"llm_{prefix}{column.removeprefix('llm_')}"
    return f"{prefix}{column}"


def _file_name(dialogue_id: str) -> str:
    """Returns a name for a file; a hash keeps `a/b` and `a_b` apart."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", dialogue_id)[:100]
    return plain if plain == dialogue_id else f"{plain}-{digest_of_text(dialogue_id)}"
