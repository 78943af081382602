"""Shows a run to people: a table of all dialogues, and a page with each of them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from coalm_oumi.evaluation.multiwoz.judge import METRICS, overall
from coalm_oumi.evaluation.multiwoz.result import Judged
from coalm_oumi.files import write_text
from coalm_oumi.prompts import templates


def write(folder: Path, title: str, judged: Sequence[Judged], metrics: Mapping[str, float]) -> Path:
    """Writes `index.html` and `dialogues/<name>.html`.

    Args:
        folder: Where to.
        title: What was run.
        judged: The dialogues.
        metrics: The run's metrics, shares in [0, 1].

    Returns:
        The index.
    """
    environment = templates(Path(__file__).parent, autoescape=True)
    shared = {"title": title, "metric_names": METRICS}
    transcript = environment.get_template("transcript.jinja")
    rows = []
    for entry in judged:
        name = f"dialogues/{re.sub(r'[^A-Za-z0-9_.-]', '_', entry.dialogue.dialogue_id)}.html"
        row = {"entry": entry, "file": name, "overall": overall(entry.verdicts)}
        write_text(folder / name, transcript.render(**shared, **row))
        rows.append(row)
    index = folder / "index.html"
    write_text(
        index, environment.get_template("index.jinja").render(**shared, rows=rows, metrics=metrics)
    )
    return index
