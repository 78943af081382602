"""Tables 2-5 of `paper.yaml`, and the commands that reproduce their rows."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from coalm_oumi.core import paper
from coalm_oumi.core.jsontext import is_object
from coalm_oumi.evaluation.api_bank.options import ApiBankOptions
from coalm_oumi.evaluation.multiwoz.options import MultiwozOptions
from coalm_oumi.files.config import read_yaml
from coalm_oumi.files.resources import resource_dir

NUMBERS = (2, 3, 4, 5)
_OPTIONS = {"coalm-oumi/api_bank": ApiBankOptions, "coalm-oumi/multiwoz": MultiwozOptions}
"""The options of tasks whose results are named after options."""
OF_COALM = "coalm_8b"
"""The run whose evaluation recipes also serve, with overrides, runs that have none."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        label: Its head.
        task: The label of its task; `*` stands for any text.
        metric: The task's metric.
        samples: The number of samples of the whole benchmark. None if the benchmark has categories,
            of which a task may ask a seeded selection.
        shown: True if the figures show it.
        style: The `style` that is comparable with the paper's numbers. None if the column's results
            all have one style.
    """

    label: str
    task: str
    metric: str
    samples: int | None = None
    shown: bool = False
    style: str | None = None


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of a table.

    Attributes:
        name: As printed.
        run: The name of the evaluation that reproduces it.
        values: The printed numbers in %, by column.
        trained_by: The recipe that trains the model, if it cannot be downloaded.
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
    rows: Sequence[PaperRow]


@functools.cache
def table(number: int) -> PaperTable:
    """Returns one of Tables 2-5."""
    found = paper.read()[f"table_{number}"]
    return PaperTable(
        number=number,
        title=found["title"],
        note=found["note"],
        columns={key: Column(**column) for key, column in found["columns"].items()},
        rows=[PaperRow(**row) for row in found["rows"]],
    )


def kind_of(run: str) -> str | None:
    """Returns the kind of a run's model, a key of `kinds`."""
    kinds = paper.read()["kinds"]
    return next((kind for kind, runs in kinds.items() if run in runs), None)


@dataclass(frozen=True, slots=True)
class EvaluationRecipe:
    """An evaluation recipe of this package.

    Attributes:
        file: Relative to the folder above `recipes`.
        output_dir: Where it writes.
        engine: Oumi's inference engine.
        tasks: The labels of its results.
    """

    file: str
    output_dir: str
    engine: str
    tasks: Sequence[str]

    @property
    def run(self) -> str:
        """The last part of its output_dir."""
        return Path(self.output_dir).name


@functools.cache
def evaluation_recipes() -> Sequence[EvaluationRecipe]:
    """Returns the package's evaluation recipes."""
    home = resource_dir("recipes")
    found: list[EvaluationRecipe] = []
    for file in sorted(home.rglob("*.yaml")):
        config = read_yaml(file)
        if not is_object(config) or not {"tasks", "output_dir"} <= config.keys():
            continue
        recipe = EvaluationRecipe(
            file=f"recipes/{file.relative_to(home).as_posix()}",
            output_dir=config["output_dir"],
            engine=config.get("inference_engine", "NATIVE"),
            tasks=[_label(task) for task in config["tasks"]],
        )
        found.append(recipe)
    return found


def _label(task: Mapping[str, Any]) -> str:
    """Returns the label of the result of a recipe's task."""
    name = task["task_name"]
    options = _OPTIONS.get(name)
    if options is None:
        return name
    return options.from_options(task["eval_kwargs"]["data"]).label


def command(row: PaperRow, column: Column) -> str | None:
    """Returns the command that reproduces a cell of a table.

    Returns:
        The command, or None for models that only their own code can score.
    """
    recipes = [
        recipe
        for recipe in evaluation_recipes()
        if any(fnmatchcase(label, column.task) for label in recipe.tasks)
    ]
    for recipe in recipes:
        if recipe.run == row.run:
            return f"oumi evaluate -c {recipe.file}"
    model = _trained(row.trained_by) if row.trained_by else models().get(row.run)
    if model is None:
        return None
    # If several recipes have that engine, take CoALM 8B's, whose head describes overrides.
    recipes.sort(key=lambda recipe: recipe.run != OF_COALM)
    for recipe in recipes:
        if recipe.engine == model.engine:
            changes = model.of_bfcl if column.task.startswith("coalm-oumi/bfcl") else model.changes
            return f"oumi evaluate -c {recipe.file} {changes} --output_dir output/eval/{row.run}"
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """The model of a row.

    Attributes:
        engine: Oumi's name of the engine whose recipes run it.
        changes: The overrides of a recipe, as typed.
        of_bfcl: The overrides of BFCL's recipe, which also set the style.
    """

    engine: str
    changes: str
    of_bfcl: str


@functools.cache
def models() -> Mapping[str, Model]:
    """Returns the models of the rows without a recipe of that name, by run."""
    found: dict[str, Model] = {}
    for run, row in paper.read()["models"].items():
        changes = " ".join(
            filter(None, [f"--model.model_name {row['model']}", row.get("overrides")])
        )
        of_bfcl = " ".join(filter(None, [changes, row.get("bfcl")]))
        found[run] = Model(row["engine"], changes, of_bfcl)
    return found


def _trained(file: str) -> Model:
    """Returns the model that a training recipe trains."""
    config = read_yaml(resource_dir("recipes") / file.removeprefix("recipes/"))
    base, adapter = config["model"]["model_name"], config["training"]["output_dir"]
    changes = f"--model.model_name {base} --model.adapter_model {adapter}"
    return Model("VLLM", changes, changes)
