"""Tables 2-5 as `paper.yaml` holds them, and the commands that reproduce their rows."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from coalm_oumi.core import paper
from coalm_oumi.files.resources import resource_dir

NUMBERS = (2, 3, 4, 5)
OF_COALM = "coalm_8b"
"""The run whose evaluation recipes serve, with another model, the runs that have none."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        label: Its head.
        task: The label of the task that gives it; `*` stands for any text.
        metric: The task's metric.
        samples: How many samples the whole benchmark has; None where a seeded choice of each
            category makes none comparable.
        shown: Whether the figures show it.
    """

    label: str
    task: str
    metric: str
    samples: int | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        name: As printed.
        run: The name of the evaluation that reproduces it.
        values: What is printed, in %, by column.
        trained_by: The recipe that trains the model, where it is not one to download.
    """

    name: str
    run: str
    values: Mapping[str, float]
    trained_by: str | None = None


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table."""

    number: int
    title: str
    note: str
    columns: Mapping[str, Column]
    rows: Sequence[Row] = field(default_factory=list)


@functools.cache
def table(number: int) -> PaperTable:
    """Returns one of Tables 2-5."""
    found = paper.read()[f"table_{number}"]
    return PaperTable(
        number=number,
        title=found["title"],
        note=found["note"],
        columns={key: Column(**column) for key, column in found["columns"].items()},
        rows=[Row(**row) for row in found["rows"]],
    )


def kind_of(run: str) -> str | None:
    """Says what a run's model is: one of the keys of `kinds`."""
    kinds = paper.read()["kinds"]
    return next((kind for kind, runs in kinds.items() if run in runs), None)


@dataclass(frozen=True, slots=True)
class EvaluationRecipe:
    """An evaluation recipe of this package.

    Attributes:
        file: Relative to the folder above `recipes`.
        run: The last part of its output_dir.
        output_dir: The whole.
        model: The model that it evaluates.
        tasks: The labels of its results.
    """

    file: str
    run: str
    output_dir: str
    model: str
    tasks: Sequence[str]


@functools.cache
def evaluation_recipes() -> Sequence[EvaluationRecipe]:
    """Returns the package's recipes that evaluate something."""
    home = resource_dir("recipes")
    found = []
    for file in sorted(home.rglob("*.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(config, dict) and "tasks" in config and "output_dir" in config:
            found.append(
                EvaluationRecipe(
                    file=f"recipes/{file.relative_to(home).as_posix()}",
                    run=Path(config["output_dir"]).name,
                    output_dir=config["output_dir"],
                    model=config["model"]["model_name"],
                    tasks=[_label(task) for task in config["tasks"]],
                )
            )
    return found


def _label(task: Mapping[str, Any]) -> str:
    """Names the result that a task of a recipe gives."""
    name = task["task_name"]
    data = (task.get("eval_kwargs") or {}).get("data", {})
    if name == "coalm-oumi/api_bank":
        return f"{name}/{Path(data['path']).stem}"
    if name == "coalm-oumi/multiwoz":
        user = "simulated" if data.get("user") else "corpus"
        return "/".join(
            [name, str(data["version"]), user, data.get("name") or data.get("format", "")]
        )
    return name


def command(row: Row, column: Column) -> str | None:
    """Returns the command that would give a cell of a table.

    Returns:
        None where no recipe does: the models that only their own code can score.
    """
    recipes = [
        recipe
        for recipe in evaluation_recipes()
        if any(fnmatchcase(label, column.task) for label in recipe.tasks)
    ]
    for recipe in recipes:
        if recipe.run == row.run:
            return f"oumi evaluate -c {recipe.file}"
    ours = next((recipe for recipe in recipes if recipe.run == OF_COALM), None)
    changes = _model_of(row)
    if ours is None or changes is None:
        return None
    return f"oumi evaluate -c {ours.file} {changes} --output_dir output/eval/{row.run}"


def _model_of(row: Row) -> str | None:
    """Returns the changes to a recipe that make it evaluate a row's model."""
    if row.trained_by:
        file = resource_dir("recipes") / row.trained_by.removeprefix("recipes/")
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        base, adapter = config["model"]["model_name"], config["training"]["output_dir"]
        return f"--model.model_name {base} --model.adapter_model {adapter}"
    models = [recipe.model for recipe in evaluation_recipes() if recipe.run == row.run]
    return f"--model.model_name {models[0]}" if models else None
