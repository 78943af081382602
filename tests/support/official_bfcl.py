"""The official `bfcl evaluate` beside our judging, and our tasks with a scripted engine."""

import csv
import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.types.conversation import Message, Role

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation import styles
from coalm_oumi.evaluation.bfcl import environment, run
from coalm_oumi.evaluation.bfcl import task as tasks
from coalm_oumi.evaluation.bfcl.client import BfclEntry, BfclWorker
from coalm_oumi.evaluation.bfcl.version import Version

LEADERBOARD_MODEL = "uiuc-convai_CoALM-70B"
"""Has a separate score in each category, for the columns that are made of them."""

Answered = Sequence[tuple[BfclEntry, Any]]


@dataclass(frozen=True, slots=True)
class Officially:
    """What one run of `bfcl evaluate` says, which takes seconds to start.

    Attributes:
        version: The version of the benchmark.
        root: Its project folder.
        accuracies: Those that `LEADERBOARD_MODEL` was given, by category.
        sizes: The sizes of these categories.
    """

    version: Version
    root: Path
    accuracies: Mapping[str, float]
    sizes: Mapping[str, int]

    def scored(self, style: str, category: str) -> list[Any]:
        """Returns the lines of a score file: numbers, and one for each wrong answer."""
        model = run.OFFICIAL_MODELS[style]
        with _score_file(self.version, self.root, model, category).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def wrong(self, style: str, category: str) -> Counter[str]:
        """Returns the ids of the wrong answers."""
        return Counter(row["id"] for row in self.scored(style, category)[1:])

    def row(self, table: str) -> dict[str, str]:
        """Returns what a table of the leaderboard says of `LEADERBOARD_MODEL`."""
        with (self.root / "score" / table).open() as lines:
            return next(row for row in csv.DictReader(lines) if row["Model"] == "CoALM-70B")


def installed(version: Version) -> Path:
    """Returns the interpreter of the environment, or skips the test."""
    try:
        return environment.python(version)
    except CoalmError as error:
        pytest.skip(f"the environment of bfcl-eval cannot be built here: {error}")


def questions(version: Version, categories: Sequence[str]) -> dict[str, list[BfclEntry]]:
    """Returns the samples of categories."""
    installed(version)
    with BfclWorker(version) as worker:
        return {category: worker.questions(category) for category in categories}


def paired(
    entries: Mapping[str, Sequence[BfclEntry]], asked: Mapping[str, Mapping[str, Sequence[Any]]]
) -> dict[str, Answered]:
    """Pairs the answers of each style and category with their samples."""
    return {
        style: [
            pair
            for category, answers in found.items()
            for pair in zip(entries[category], answers, strict=True)
        ]
        for style, found in asked.items()
    }


def evaluate(
    version: Version, root: Path, answered: Mapping[str, Answered], categories: Sequence[str]
) -> Officially:
    """Runs `bfcl evaluate` on our result files, by prompt style, and on scores of another model."""
    for style, found in answered.items():
        run.write_results(root, version, styles.STYLES[style], found)
    random_ = random.Random(1)
    sizes, accuracies = {}, {}
    for category in version.groups["all"]:
        if category in version.own_prompt:
            continue
        sizes[category] = random_.randrange(100, 300)
        accuracies[category] = random_.randrange(sizes[category] + 1) / sizes[category]
        file = _score_file(version, root, LEADERBOARD_MODEL, category)
        file.parent.mkdir(parents=True, exist_ok=True)
        row = {"accuracy": accuracies[category], "total_count": sizes[category]}
        file.write_text(json.dumps(row))
    named = [run.OFFICIAL_MODELS[style].replace("_", "/") for style in answered]
    models = [argument for model in named for argument in ("--model", model)]
    chosen = [argument for name in categories for argument in ("--test-category", name)]
    done = subprocess.run(
        [environment.python(version).with_name("bfcl"), "evaluate", *models, *chosen],
        env={**environment.variables(root), "OPENAI_API_KEY": "unused"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Officially(version, root, accuracies, sizes)


def _score_file(version: Version, root: Path, model: str, category: str) -> Path:
    file = f"BFCL_{version.name}_{category}_score.json"
    return root / "score" / model / version.folder(category) / file


class Engine:
    """Answers by a function of the parts of a sample's key, and keeps what it was asked."""

    def __init__(self, answer: Callable[..., str]) -> None:
        self.answer = answer
        self.asked: dict[str, str] = {}

    def infer_partial(self, conversations, config=None):
        answered = []
        for place, conversation in enumerate(conversations):
            key = conversation.conversation_id
            self.asked[key] = "\n".join(str(m.content) for m in conversation.messages)
            said = Message(role=Role.ASSISTANT, content=self.answer(*key.split("/")))
            messages = [*conversation.messages, said]
            answered.append((place, conversation.model_copy(update={"messages": messages})))
        return InferenceResult(successful=answered, failures={})


def run_task(
    version: Version, engine: Any, folder: Path, data: dict[str, Any], count: int | None = None
) -> tuple[dict[str, Any], list[Any]]:
    """Runs a version's task. Returns its values, and a record for each sample."""
    task = {"v3": tasks.bfcl_v3, "v4": tasks.bfcl_v4}[version.name]
    config = EvaluationConfig(output_dir=str(folder))
    params = EvaluationTaskParams(task_name="t", evaluation_backend="custom", num_samples=count)
    result = task(params, config, engine, data={"style": "bfcl", **data})
    values = result.task_result["results"][version.task]
    rows = [json.loads(line) for line in (folder / values["answers"]).read_text().splitlines()]
    return values, rows
