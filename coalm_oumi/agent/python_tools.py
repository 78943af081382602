"""`coalm-python`: an environment of your own Python functions.

Oumi's executable environments call `executor(arguments=..., context=...)` and expect a
`ToolResult`. Here a tool's `executor` names any function, which gets the arguments by name and
returns a JSON value.
"""
# pyright: standard

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolLookupError
from oumi.core.registry import register_environment
from oumi.core.types.tool_call import ToolResult

# Not from `oumi.environments`: Oumi may be loading it while it loads this package.
from oumi.environments.base_environment import BaseEnvironment
from oumi.environments.utils import resolve_executor

from coalm_oumi.core.options import Options, Text


class PythonKwargs(Options):
    """The `env_kwargs` of a recipe.

    Attributes:
        folder: The folder of your modules. If not given, they must be on the Python path.
    """

    folder: Text | None = None


@register_environment("coalm-python")
class PythonEnvironment(BaseEnvironment):
    """Runs each tool by calling its function."""

    def __init__(self, params: EnvironmentParams, folder: Path | None = None) -> None:
        """Imports the functions.

        Args:
            params: The tools, each with an `executor` such as `my_module.my_function`.
            folder: Where their modules are.

        Raises:
            ValueError: A function cannot be imported.
        """
        with _on_path(folder):
            self._functions = {
                tool.id: resolve_executor(tool.executor, tool.id) for tool in params.tools
            }

    @classmethod
    def from_params(cls, params: EnvironmentParams) -> "PythonEnvironment":
        """Builds the environment of a recipe."""
        kwargs = PythonKwargs.read(
            params.env_kwargs or {}, where=f"environment `{params.id}`: env_kwargs"
        )
        return cls(params, Path(kwargs.folder) if kwargs.folder else None)

    def step(self, calls: list[tuple[str, dict[str, Any]]]) -> list[ToolResult]:
        """Calls the functions in order, and raises what they raise."""
        return [self._call(name, arguments) for name, arguments in calls]

    def _call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        if name not in self._functions:
            raise ToolLookupError(f"there is no tool `{name}`")
        output = self._functions[name](**arguments)
        return output if isinstance(output, ToolResult) else ToolResult(output=output)


@contextlib.contextmanager
def _on_path(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
