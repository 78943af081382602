"""The official `bfcl evaluate`, and what it says."""

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coalm_oumi.evaluation.bfcl import environment
from coalm_oumi.evaluation.bfcl.version import Version

Answers = Mapping[str, Mapping[str, Sequence[tuple[str, Any]]]]
"""Raw answers with their samples' ids, by model folder and category."""


def evaluate(
    version: Version, root: Path, answers: Answers, categories: Sequence[str], *written: str
) -> None:
    """Runs `bfcl evaluate` on answers, and on the result files of models that are written already."""
    for model, by_category in answers.items():
        for category, rows in by_category.items():
            folder = root / "result" / model / version.folder(category)
            folder.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({"id": id_, "result": result}) for id_, result in rows)
            file = folder / f"BFCL_{version.name}_{category}_result.json"
            file.write_text("\n".join(lines))
    named = [*answers, *written]
    models = [argument for model in named for argument in ("--model", model.replace("_", "/"))]
    chosen = [argument for name in categories for argument in ("--test-category", name)]
    done = subprocess.run(
        [environment.python(version).with_name("bfcl"), "evaluate", *models, *chosen],
        env={**environment.variables(root), "OPENAI_API_KEY": "unused"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def wrong(version: Version, root: Path, model: str, category: str) -> Counter[str]:
    """Returns the ids of the answers that it found wrong."""
    file = f"BFCL_{version.name}_{category}_score.json"
    scored = root / "score" / model / version.folder(category) / file
    with scored.open(encoding="utf-8") as lines:
        next(lines)
        return Counter(json.loads(line)["id"] for line in lines)
