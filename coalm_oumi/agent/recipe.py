"""Reads a chat recipe: model and engine as in Oumi, environments, and the agent's options."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from oumi.core.configs import InferenceConfig
from oumi.core.configs.environment_config import EnvironmentConfig
from oumi.core.configs.params.environment_params import EnvironmentParams
from pydantic import ConfigDict, Field

from coalm_oumi.core.compat import finalize
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.core.options import Options, Text
from coalm_oumi.core.wording import first_line, one_line
from coalm_oumi.files.config import check_file


class ToolOptions(Options):
    """A tool, as Oumi's `ToolParams` has it. An environment's own class may have more keys.

    Attributes:
        id: How a model calls it.
        name: Its name for people.
        description: What it does.
        parameters: The JSON Schema of its arguments.
        output_schema: That of its result.
        read_only: Whether it only reads. Before any other tool runs, the user is asked.
        executor: The function behind it, where the environment takes one.
    """

    model_config = ConfigDict(extra="allow")

    id: Text
    name: Text
    description: Text
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    output_schema: dict[str, Any] | None = None
    read_only: bool = True
    executor: str = ""


class EnvironmentOptions(Options):
    """An environment, as Oumi's `EnvironmentParams` has it.

    Attributes:
        id: Its name in the recipe.
        env_type: The name that it is registered under.
        name: Its name for people.
        description: What it is.
        tools: Its tools. Some environments bring theirs.
        env_kwargs: What the type of environment takes.
        grounding: Oumi's grounding configuration.
    """

    id: Text
    env_type: Text
    name: Text | None = None
    description: Text | None = None
    tools: list[ToolOptions] = Field(default_factory=list)
    env_kwargs: dict[str, Any] | None = None
    grounding: dict[str, Any] | None = None


class ChatOptions(Options):
    """The agent's options.

    Attributes:
        form: The written form of prompt and answers. CoALM was trained on `coalm`.
        max_steps: The most steps per turn.
        tool_timeout: The most seconds per tool call.
        confirm: `writes` asks the user before a tool runs that is not `read_only`; `never` does
            not.
        environments: Oumi environments.
    """

    form: Literal["coalm", "autotod", "native"] = "coalm"
    max_steps: int = Field(default=5, ge=1)
    tool_timeout: float = Field(default=30.0, gt=0, le=86_400)
    confirm: Literal["writes", "never"] = "writes"
    environments: list[EnvironmentOptions] = Field(min_length=1)


def read(file: Path, changes: Sequence[str] = ()) -> tuple[InferenceConfig, ChatOptions]:
    """Reads a chat recipe.

    Args:
        file: The YAML.
        changes: Changes such as `confirm=never` or `model.model_name=output/merged`.

    Raises:
        CoalmError: No such file, an unknown key, or a value of the wrong type.
    """
    check_file(file)
    try:
        loaded = OmegaConf.load(file)
        loaded.merge_with_dotlist(list(changes))  # unlike `merge`, it reaches into lists
        values: Json = OmegaConf.to_container(loaded, resolve=True, throw_on_missing=True)
        if not is_object(values):
            raise CoalmError(f"{file}: expected a mapping, as in recipes/chat/demo.yaml")
        own = {key: value for key, value in values.items() if key in ChatOptions.model_fields}
        options = ChatOptions.read(own, where=str(file))
        rest = {key: value for key, value in values.items() if key not in own}
        schema = OmegaConf.structured(InferenceConfig)
        inference: Any = OmegaConf.to_object(OmegaConf.merge(schema, rest))
        finalize(inference)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CoalmError(f"{file}: not valid YAML: {one_line(error)}") from error
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise CoalmError(f"{file}: {first_line(error)}") from error
    return inference, options


def environments(options: ChatOptions, file: Path) -> list[EnvironmentParams]:
    """Reads a recipe's environments as Oumi does.

    Raises:
        CoalmError: A key is unknown, a type is not registered, or two tools have one id.
    """
    try:
        params = [_environment(one, file) for one in options.environments]
        config = EnvironmentConfig(environments=params)
        config.finalize_and_validate()
    except (ValueError, TypeError, KeyError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise CoalmError(f"{file}: environments: {one_line(reason)}") from error
    return config.environments


def _environment(options: EnvironmentOptions, file: Path) -> EnvironmentParams:
    """Reads an environment.

    Raises:
        CoalmError: A tool has a key that the class of its environment's tools does not have. Oumi
            ignores such a key.
    """
    params = EnvironmentParams(**options.model_dump())
    for tool, own in zip(params.tools, options.tools, strict=True):
        known = [field.name for field in dataclasses.fields(tool)]
        unknown = own.model_fields_set - set(known)
        if unknown:
            raise CoalmError(
                f"{file}: environments: unknown key `{min(unknown)}` of the tool `{own.id}`; the "
                f"keys are {', '.join(known)}"
            )
    return params
