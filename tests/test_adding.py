"""Follows README's section "Adding ..." in a copy of the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = '''
"""Greetings: one line of text, one sample."""

from collections.abc import Iterator
from pathlib import Path

from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources.reader import Record, RecordError, Source
from coalm_oumi.rendering import prompts


class GreetingsOptions(Options):
    """Attributes:
        greeting: How to greet.
    """

    greeting: str = "Hello"


class Greetings:
    """Reads a text file."""

    def __init__(self, path: Path, options: GreetingsOptions) -> None:
        self._path, self._options = path, options
        self.size = path.stat().st_size

    def records(self) -> Iterator[Record]:
        for number, line in enumerate(self._path.read_text().splitlines(), start=1):
            yield Record(f"{self._path}:{number}", str(number), line, self.size)

    def samples(self, record: Record) -> list[Sample]:
        if not record.content:
            raise RecordError("the line is empty")
        text = prompts.render("greetings", name=record.content)
        answer = f"{self._options.greeting}, {record.content}!"
        return [Sample(text, "", answer, "greetings", "tod", f"greetings/{record.key}")]


SOURCE = Source("tod", Greetings, GreetingsOptions)
'''
TASK = '''
"""Parity: is a number even?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oumi.core.registry import register_evaluation_function
from oumi.core.types.conversation import Message, Role

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.evaluation import results
from coalm_oumi.evaluation.options import TaskOptions, takes
from coalm_oumi.evaluation.parity.metrics import is_right
from coalm_oumi.llm.recorded import Question, RecordedModel

if TYPE_CHECKING:
    from oumi.core.configs import EvaluationConfig, EvaluationTaskParams
    from oumi.core.evaluation.evaluation_result import EvaluationResult
    from oumi.core.inference import BaseInferenceEngine


class ParityOptions(TaskOptions):
    """Attributes:
        below: Ask all numbers from 0 below this one.
    """

    below: int = 10


@register_evaluation_function("coalm-oumi/parity")
@takes(ParityOptions)
@reported_by_oumi
def parity(
    task_params: EvaluationTaskParams,
    config: EvaluationConfig,
    inference_engine: BaseInferenceEngine,
    data: Mapping[str, Any],
) -> EvaluationResult:
    """Asks whether numbers are even."""
    numbers = range(ParityOptions.from_options(data).below)
    questions = [
        Question(str(n), [Message(role=Role.USER, content=f"Is {n} even?")]) for n in numbers
    ]
    with RecordedModel(inference_engine, config, "parity") as model:
        answers = model.ask(questions)
    records = [
        {"input": str(n), "target": "", "response": answer, "correct": is_right(n, answer),
         "unreadable": None}
        for n, answer in zip(numbers, answers, strict=True)
    ]
    metrics = {"accuracy": results.share_correct(records)}
    return results.write("coalm-oumi/parity", metrics, config, records, version=1, templates=())
'''
METRICS = '''
"""Parity's metric."""


def is_right(number: int, answer: str) -> bool:
    """Returns True if the answer says correctly whether the number is even."""
    return answer == ("no" if number % 2 else "yes")
'''
ADDED = {
    "coalm_oumi/data/sources/greetings.py": SOURCE,
    "prompts/greetings.jinja": "Greet {{ name }}.\n",
    "coalm_oumi/evaluation/parity/__init__.py": '"""Parity."""\n',
    "coalm_oumi/evaluation/parity/task.py": TASK,
    "coalm_oumi/evaluation/parity/metrics.py": METRICS,
    "recipes/eval_parity.yaml": "model: {model_name: a/b}\ninference_engine: NATIVE\noutput_dir: out\n"
    "tasks: [{evaluation_backend: custom, task_name: coalm-oumi/parity, eval_kwargs: {data: {below: 4}}}]\n",
    "greetings.yaml": "output_dir: built\nvalidation_fraction: 0\n"
    "sources: {greetings: {path: names.txt, options: {greeting: Good day}}}\n",
    "names.txt": "Ada\nGrace\n",
}
USE = """
import sys
from pathlib import Path

# The start-up file of the installation has imported the original already.
for name in [name for name in sys.modules if name.partition(".")[0] == "coalm_oumi"]:
    del sys.modules[name]
sys.path.insert(0, sys.argv[1])
from oumi.core.configs import EvaluationConfig
from oumi.core.inference.base_inference_engine import InferenceResult
from oumi.core.registry import REGISTRY
from oumi.core.types.conversation import Message, Role

import coalm_oumi
from coalm_oumi.cli.app import main

assert Path(coalm_oumi.__file__).is_relative_to(sys.argv[1]), coalm_oumi.__file__
assert main(["build", "-c", "greetings.yaml", "--workers", "1"]) == 0
name = "coalm-oumi/greetings"
dataset = REGISTRY.get_dataset(name)(
    dataset_name=name, dataset_path="names.txt", source_options={"greeting": "Hi"}
)
print(dataset.samples[0]["instruction"], dataset.samples[0]["output"])

assert main(["check", "recipes/eval_parity.yaml"]) == 0
assert main(["check", "recipes/variants/mine.yaml"]) == 0


class Yes:
    def infer_partial(self, conversations, config=None):
        answer = Message(role=Role.ASSISTANT, content="yes")
        return InferenceResult(successful=[
            (place, one.model_copy(update={"messages": [*one.messages, answer]}))
            for place, one in enumerate(conversations)
        ], failures={})


config = EvaluationConfig.from_yaml("recipes/eval_parity.yaml")
function = REGISTRY.get_evaluation_function("coalm-oumi/parity")
result = function(config.tasks[0], config, Yes(), **config.tasks[0].eval_kwargs)
print(result.task_result["results"]["coalm-oumi/parity"]["accuracy"])
"""


@pytest.fixture
def copy(repo: Path, tmp_path: Path, mixture: Path, tiny_model: Path) -> Path:
    home = tmp_path / "copy"
    for folder in ("coalm_oumi", "prompts", "recipes"):
        shutil.copytree(repo / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in ADDED.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    variant = (home / "recipes/coalm_demo.yaml").read_text()
    variant = variant.replace("output/demo/model", str(tiny_model))
    variant = variant.replace("output/demo/data", str(mixture)).replace("lora_r: 16", "lora_r: 8")
    (home / "recipes/variants/mine.yaml").write_text(variant)
    return home


def test_what_the_readme_says_is_enough(copy: Path):
    done = subprocess.run(
        [sys.executable, "-c", USE, str(copy)], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert "train: 2 samples (greetings 2)" in lines
    assert "Greet Ada. Hi, Ada!" in lines
    assert "ok   task coalm-oumi/parity: its options are valid" in lines
    assert any(line.startswith("ok   data.train.datasets[0]: ") for line in lines)
    assert lines[-1] == "0.5"
