"""Every key of what people write, with wrong values: one clear error, and nothing silent.

The readers are those of the commands. Where they are strict by their types alone, a new option is
swept without a change here.
"""

import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import yaml
from oumi.core.configs import EvaluationConfig
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolParams
from oumi.core.registry import REGISTRY, RegistryType

from coalm_oumi.agent import forms
from coalm_oumi.agent import recipe as chat_recipe
from coalm_oumi.agent.mcp_tools import McpKwargs
from coalm_oumi.agent.python_tools import PythonKwargs
from coalm_oumi.agent.recipe import ChatOptions, EnvironmentOptions, ToolOptions
from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.cli.chains import load_chain
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.data.cra import judge
from coalm_oumi.data.cra.generate import GenerateConfig
from coalm_oumi.data.datasets.base import SampleOptions
from coalm_oumi.data.datasets.mixture import MixtureDataset
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.data.sources import find_source, source_names
from coalm_oumi.evaluation import options as task_options
from coalm_oumi.evaluation.multiwoz.models import PaidModel
from coalm_oumi.evaluation.multiwoz.world import WorldKwargs
from coalm_oumi.evaluation.options import TaskOptions
from coalm_oumi.files.config import read_config
from coalm_oumi.llm.chat import Endpoint
from coalm_oumi.training.plan.setup import TrainerKwargs, read_setup
from coalm_oumi.training.recipe import read_recipe
from coalm_oumi.training.trainer import CoalmSftConfig
from coalm_oumi.training.trainer_options import TrainerOptions
from tests.conftest import REPO
from tests.support import wrong_values

ENDPOINT = {
    "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "KEY", "concurrency": 4,
    "timeout": 180.0, "retries": 2, "usd_per_million_input": 2.5, "usd_per_million_output": 10.0,
}  # fmt: skip
EXAMPLES: dict[str, Any] = {
    "categories": ["simple"], "concurrency": 4, "database": "db", "dataset_path": "data",
    "domain": "tod", "domains": ["tod"], "encoder": "folder", "history": "own",
    "folder": ".", "intents": ["GetWeather"], "timeout_seconds": 5.0, "url": "http://127.0.0.1:1/mcp",
    "judge": {**ENDPOINT, "max_usd": 5.0}, "kinds": ["action"],
    "max_length": 100, "max_row_tokens": 100, "model": "m", "name": "x", "path": "data",
    "sources": ["snips"], "targets": ["action"], "transcripts": "samples:cra/transcripts.jsonl",
    "usd_per_million_input": 1.0, "usd_per_million_output": 1.0, "user": {**ENDPOINT, "max_usd": 5.0},
    "version": "2.4", "weights": {"snips": 0.5}, "adapter_dtype": "bfloat16", "fsdp": "full_shard",
    "fsdp_config": {"reshard_after_forward": "FULL_SHARD", "cpu_offload": False},
}  # fmt: skip
"""A right value of each option whose default says nothing of its type."""
NOTHING = [
    "closings", "inputs", "masking", "max_results", "max_usd", "minutes", "outputs", "retries",
    "seed", "temperature", "tools", "usd_per_million_input", "usd_per_million_output",
    "validation_fraction", "without",
]  # fmt: skip
"""Keys that may be 0 or an empty list. The sweep finds any other key whose bound is lost."""

faults = partial(wrong_values.faults, nothing=NOTHING)


def example(kind: type[Options]) -> dict[str, Any]:
    """Returns options with every key."""
    return {
        name: EXAMPLES[name] if name in EXAMPLES else field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
    }


def nullable(kind: type[Options]) -> list[str]:
    """Returns the options that may be null."""
    return [
        name for name, field in kind.model_fields.items() if NoneType in get_args(field.annotation)
    ]


def written(folder: Path, content: Any) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def swept(kind: type[Options], where: str = "recipe.yaml") -> list[str]:
    """Returns the faults of options that are read by their types alone."""
    return faults(
        example(kind),
        lambda values: kind.read(values, where=where),
        null=nullable(kind) + nullable(PaidModel),
        free=["weights"],
    )


@pytest.mark.parametrize("name", source_names())
def test_the_options_of_every_source(name: str):
    assert swept(find_source(name).options) == []


TASKS = [
    name for name in REGISTRY.get_all(RegistryType.EVALUATION_FUNCTION) if "coalm-oumi/" in name
]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_options_of_every_task(name: str):
    options = REGISTRY.get_evaluation_function(name).coalm_options
    assert issubclass(options, TaskOptions)
    assert swept(options) == []


@pytest.mark.parametrize(
    "kind", [SampleOptions, TrainerOptions, Endpoint, WorldKwargs, PythonKwargs, McpKwargs]
)
def test_options_that_are_read_by_their_types(kind: type[Options]):
    assert swept(kind) == []


def test_a_mixture(tmp_path: Path):
    content = {
        "output_dir": "out", "seed": 3, "validation_fraction": 0.1, "strict": False,
        "without": ["la"],
        "sources": {"snips": {"path": "a", "limit": 3, "max_samples": 4,
                              "options": {"intents": ["GetWeather"]}},
                    "sgd": {"path": ["a"]}},
    }  # fmt: skip
    found = faults(
        content,
        lambda changed: load_config(written(tmp_path, changed), []),
        null=["limit", "max_samples"],
    )
    assert [fault for fault in found if ".path = " not in fault] == []
    # A path may stand for a list of one.
    assert {fault.partition(" = ")[2] for fault in found} == {
        "'soon': accepted", "'0.5': accepted", "['soon']: accepted"
    }  # fmt: skip


def test_a_cra_recipe(tmp_path: Path):
    content = {
        "path": "samples:sgd", "output_dir": "out", "functions": "all", "signatures": "full",
        "limit": 2, "seed": 0, "endpoint": ENDPOINT,
        "sampling": {"temperature": 0.7, "top_p": 0.9, "seed": 1, "max_tokens": 9,
                     "max_completion_tokens": 9},
    }  # fmt: skip
    found = faults(
        content,
        lambda changed: read_config(GenerateConfig, written(tmp_path, changed), []),
        null=["limit", *nullable(Endpoint)],
    )
    # A server may know parameters that this package does not.
    assert found == ["sampling.seed = -1: accepted", "sampling.typo = 1: accepted"]


def test_a_chain(tmp_path: Path):
    stage = {"command": "true x", "inputs": ["a"], "outputs": ["b"], "minutes": 1.5}
    content = {"output_dir": "out", "variables": {"a": "b"}, "stages": {"one": stage}}
    found = faults(
        content, lambda changed: load_chain(written(tmp_path, changed), []), null=["minutes"]
    )
    assert found == ["variables.a = '': accepted"]


TOOL = {
    "id": "Length", "name": "n", "description": "d", "read_only": True,
    "executor": "coalm_oumi.agent.example_tools.convert_length", "output_schema": {"type": "object"},
    "parameters": {"type": "object", "properties": {"metres": {"type": "number"}},
                   "required": ["metres"]},
}  # fmt: skip


def test_a_chat_recipe():
    content = {
        "form": "coalm", "max_steps": 3, "tool_timeout": 10.0, "confirm": "writes",
        "environments": [{"id": "a", "env_type": "coalm-python", "name": "n", "description": "d",
                          "tools": [TOOL], "env_kwargs": {"folder": "."}}],
    }  # fmt: skip

    def read(changed: Any) -> None:
        options = ChatOptions.read(changed, where="chat.yaml")
        tools = Toolbox(chat_recipe.environments(options, Path("chat.yaml")))
        assert tools.functions is not None
        assert forms.native(tools.tools)
        tools.close()

    null = ["name", "description", "env_kwargs", "output_schema", "folder"]
    found = faults(content, read, null=null, free=["output_schema", "properties", "parameters"])
    assert found == []


def test_a_judge(tmp_path: Path):
    recipe = yaml.safe_load((REPO / "recipes/judge_cra.yaml").read_text())["judge_params"]
    inference = {"model": {"model_name": "m"}, "engine": "OPENAI"}

    def read(changed: Any) -> None:
        file = written(tmp_path, {"judge_params": changed, "inference_config": inference})
        judge.judge({}, file, tmp_path / "judgements.jsonl")

    found = faults(recipe, read)
    # OmegaConf, which reads Oumi's configurations, takes a number for true or false.
    assert [fault for fault in found if "include_explanation = " not in fault] == []


def test_dataset_kwargs(tmp_path: Path):
    rows = [{"instruction": "a", "input": str(n), "output": "b", "source": "snips",
             "domain": "tod", "dialogue_id": str(n)} for n in range(40)]  # fmt: skip
    data = tmp_path / "mine.json"
    data.write_text(json.dumps(rows))
    content = {
        **example(SampleOptions),
        "strict": False,
        "hub_id": "a/b",
        "validation_fraction": 0.2,
    }
    found = faults(
        content,
        lambda changed: MixtureDataset(dataset_path=str(data), **changed),
        null=nullable(SampleOptions),
    )
    assert found == []


def test_trainer_options(tmp_path: Path):
    content = {"adapter_dtype": "bfloat16", "max_row_tokens": 100, "token_metrics": False}

    def read(changed: Any) -> None:
        CoalmSftConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, padding_free=True,
            **{name: changed[name] for name in content},
        )  # fmt: skip

    found = faults(content, read, null=["adapter_dtype", "max_row_tokens"])
    assert found == ["typo = 1: accepted"]  # TRL refuses it, where `read` does not drop it


def test_what_the_plan_reads():
    config = read_recipe(REPO / "recipes/coalm_8b.yaml")
    (data,) = config.data.train.datasets

    def read(changed: Any) -> None:
        config.training.trainer_kwargs = changed["kwargs"]
        data.dataset_kwargs = changed["dataset"]
        read_setup(config)

    kwargs = {**config.training.trainer_kwargs, **example(TrainerKwargs), "fsdp": None}
    found = faults(
        {"kwargs": kwargs, "dataset": {"max_length": 4096}},
        read,
        free=["kwargs"],  # what is not ours is TRL's, and our own keys are swept above
    )
    assert found == ["typo = 1: accepted", "dataset.typo = 1: accepted"]  # other datasets' own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=soon", "seed: expected a whole number, found 'soon'"),
        ("seed='1'", "seed: expected a whole number, found '1'; remove the quotes"),
        ("validation_fraction=true", "validation_fraction: expected a number, found True"),
        ("validation_fraction=.nan", "validation_fraction: input should be a finite number"),
        ("without=la", "without: expected a list, found 'la'"),
        ("sources.snips.limit=-1", "sources.snips.limit: input should be greater"),
        ("sources.snips.options.intents=GetWeather", "intents: expected a list, not one text"),
        ("sources.snips.typo=1", "unknown key `sources.snips.typo`"),
        ("output_dir=", "output_dir: expected text, found None"),
    ],
)
def test_changes_of_a_mixture_on_the_command_line(tmp_path: Path, change: str, message: str):
    file = written(tmp_path, {"output_dir": "out", "sources": {"snips": {"path": "a"}}})
    with pytest.raises(CoalmError) as caught:
        load_config(file, [change])
    assert message in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("style=poem", "style: input should be 'hammer', 'coalm' or 'native', found 'poem'"),
        ("path=5", "path: expected text, found 5"),
        ("other_base='true'", "other_base: expected true or false, found 'true'"),
        ("typo=1", "unknown key `typo`; the keys are other_base, path, style"),
    ],
)
def test_changes_of_a_task_on_the_command_line(change: str, message: str):
    changes = [f"tasks[0].eval_kwargs.data.{change}"]
    recipe = str(REPO / "recipes/eval_demo_api_bank.yaml")
    task = EvaluationConfig.from_yaml_and_arg_list(recipe, changes).tasks[0]
    function = REGISTRY.get_evaluation_function("coalm-oumi/api_bank")
    assert function is not None
    with pytest.raises(CoalmError) as caught:
        task_options.check(function, task.eval_kwargs["data"])
    assert message in str(caught.value)


def test_tools_and_environments_have_oumis_keys():
    assert set(ToolOptions.model_fields) == {field.name for field in fields(ToolParams)}
    assert set(EnvironmentOptions.model_fields) == {
        field.name for field in fields(EnvironmentParams)
    }
