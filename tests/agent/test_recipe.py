"""Chat recipes: the keys of an environment's tools, and errors that name the environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from oumi.core.configs.params.tool_params import ToolParams
from oumi.core.registry import register_environment
from oumi.environments.base_environment import BaseEnvironment

from coalm_oumi.agent import recipe
from coalm_oumi.agent.recipe import ChatOptions
from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.core.errors import CoalmError


@dataclass
class PricedTool(ToolParams):
    """A tool of another package's environment, with a field that Oumi's tools do not have."""

    usd: float = 0.0

    @classmethod
    def create(cls, raw: Any) -> "PricedTool":
        """Reads a tool as the environment's package does."""
        return cls(raw["id"], raw["name"], raw["description"], usd=raw["usd"])


@register_environment("test-priced")
class PricedEnvironment(BaseEnvironment):
    tool_params_cls = PricedTool


def options(env_type: str, **tool: Any) -> ChatOptions:
    described = {"id": "Ask", "name": "Ask", "description": "Asks.", **tool}
    environment = {"id": "mine", "env_type": env_type, "tools": [described]}
    return ChatOptions.read({"environments": [environment]}, where="chat.yaml")


def test_an_environment_may_have_tools_with_keys_of_another_class():
    (environment,) = recipe.environments(options("test-priced", usd=0.5), Path("chat.yaml"))
    assert [tool.usd for tool in environment.tools] == [0.5]


@pytest.mark.parametrize("env_type", ["test-priced", "coalm-python"])
def test_a_key_that_no_tool_has_is_refused(env_type: str):
    with pytest.raises(CoalmError, match="unknown key `read_onyl` of the tool `Ask`; the keys are"):
        recipe.environments(options(env_type, usd=0.5, read_onyl=False), Path("chat.yaml"))


def test_an_error_in_env_kwargs_names_the_environment():
    chosen = options("coalm-python", executor="json.dumps")
    (environment,) = recipe.environments(chosen, Path("chat.yaml"))
    environment.env_kwargs = {"folder": 3}
    with pytest.raises(CoalmError, match="environment `mine`: env_kwargs: folder: expected text"):
        Toolbox([environment])
