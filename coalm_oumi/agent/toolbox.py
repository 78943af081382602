"""The tools of an agent: Oumi environments, behind checks of the model's calls.

Output of a model is untrusted. A call runs only if the tool exists, the arguments conform to its
JSON Schema, and, for a tool that writes, the user agrees. Every error becomes an observation for
the model, and the conversation continues.
"""

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import jsonschema.exceptions
import jsonschema.validators
import referencing
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolError, ToolParams
from oumi.environments.base_environment import BaseEnvironment

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, dumps, is_object
from coalm_oumi.core.wording import one_line
from coalm_oumi.core.worker import Worker
from coalm_oumi.formats.calls import FunctionCall

MAX_OBSERVATION = 20_000
"""The most characters of an observation that the model sees; a server may send any number."""

_MAX_ERROR = 500
_MAX_REFUSAL = 4000

Confirm = Callable[[ToolParams, FunctionCall], bool]
"""Asks the user whether a call that writes may run."""

Build = Callable[[EnvironmentParams], BaseEnvironment]


@runtime_checkable
class ReadsCalls(Protocol):
    """An environment that reads a model's calls more leniently than by exact names."""

    def read_call(self, call: FunctionCall) -> FunctionCall | None:
        """Returns the call under the tool's own names; None if it names no tool.

        Raises:
            ToolError: It names a tool, but the arguments cannot be read.
        """
        ...


def function_of(tool: ToolParams) -> Function:
    """Returns a tool as the prompt's function list writes it."""
    return Function.from_schema(tool.id, tool.description, tool.parameters)


class Toolbox:
    """The tools of several environments.

    Attributes:
        tools: All tools, in the order of the recipe.
    """

    def __init__(
        self,
        params: Sequence[EnvironmentParams],
        *,
        build: Build | None = None,
        confirm: Confirm | None = None,
        timeout: float | None = None,
    ) -> None:
        """Builds the environments.

        Args:
            params: The recipe's description of each.
            build: Builds an environment; Oumi's builder if not given.
            confirm: Asks the user before a tool that writes runs. None to run it unasked.
            timeout: The most seconds per call, in a thread of its environment. None for no limit,
                without a thread.

        Raises:
            CoalmError: An environment cannot be built, or a tool's parameters are not a JSON Schema
                of an object.
        """
        self._confirm = confirm
        self._timeout = timeout
        self._environments: dict[str, BaseEnvironment] = {}
        self._workers: dict[str, Worker] = {}
        try:
            for one in params:
                if timeout is not None:
                    # Built and used in one thread, because SQLite connections require it.
                    self._workers[one.id] = Worker(f"environment {one.id}")
                self._environments[one.id] = self._built(one, build or _build_with_oumi)
            # Read only now: an environment may bring its own tools.
            self.tools: list[ToolParams] = [tool for one in params for tool in one.tools]
            for tool in self.tools:
                _check_schema(tool)
        except BaseException:
            self.close()  # what the others hold, such as a connection
            raise
        self._home = {tool.id: one.id for one in params for tool in one.tools}
        self._by_id = {tool.id: tool for tool in self.tools}

    def _built(self, params: EnvironmentParams, build: Build) -> BaseEnvironment:
        try:
            return self._run(params.id, lambda: build(params), None)
        except CoalmError:
            raise
        except Exception as error:  # an environment's constructor may raise anything
            raise CoalmError(f"environment `{params.id}`: {one_line(error, _MAX_ERROR)}") from error

    @property
    def functions(self) -> list[Function]:
        """The tools as the prompt lists them."""
        return [function_of(tool) for tool in self.tools]

    def call(self, call: FunctionCall) -> str:
        """Runs a call and returns the observation. Never raises because of the model's text."""
        try:
            return _text(self._checked_call(call))
        except concurrent.futures.TimeoutError:
            return failed(f"`{call.name}` gave no answer within {self._timeout:g} seconds")
        except ToolError as error:
            return failed(str(error)[:_MAX_REFUSAL])
        except Exception as error:  # a tool may raise anything, and the model is told
            return failed(one_line(error, _MAX_ERROR))

    def close(self) -> None:
        """Frees what the environments hold."""
        for name, environment in self._environments.items():
            if name in self._workers:
                # Not waited for: a tool may hang.
                self._workers[name].submit(environment.close)
                self._workers[name].stop()
            else:
                environment.close()

    def _checked_call(self, call: FunctionCall) -> Json:
        tool, arguments = self._read(call)
        check_arguments(tool, arguments)
        confirm = None if tool.read_only else self._confirm
        if confirm is not None and not confirm(tool, FunctionCall(tool.id, arguments)):
            raise ToolRefusedError(f"the user did not allow `{tool.id}`; ask what to do instead")
        name = self._home[tool.id]
        environment = self._environments[name]
        calls = [(tool.id, dict(arguments))]
        (result,) = self._run(name, lambda: environment.step(calls), self._timeout)
        return result.output

    def _read(self, call: FunctionCall) -> tuple[ToolParams, Mapping[str, Json]]:
        """Finds the tool that a call names."""
        if call.name in self._by_id and not self._reads_calls(call.name):
            return self._by_id[call.name], call.arguments
        for environment in self._environments.values():
            if isinstance(environment, ReadsCalls):
                understood = environment.read_call(call)
                if understood is not None:
                    return self._by_id[understood.name], understood.arguments
        raise ToolRefusedError(
            f"there is no tool `{call.name}`; the tools are {', '.join(self._by_id)}"
        )

    def _reads_calls(self, tool: str) -> bool:
        return isinstance(self._environments[self._home[tool]], ReadsCalls)

    def _run(self, name: str, job: Callable[[], Any], timeout: float | None) -> Any:
        if name in self._workers:
            return self._workers[name].run(job, timeout)
        return job()


def _check_schema(tool: ToolParams) -> None:
    """Checks that a tool's parameters are a JSON Schema of an object.

    Raises:
        CoalmError: They are something else.
    """
    schema = tool.parameters
    kind = jsonschema.validators.validator_for(schema)
    error = _best_match(kind(kind.META_SCHEMA).iter_errors(schema))
    if error is not None:
        place = ".".join(["parameters", *map(str, error.absolute_path)])
        raise CoalmError(f"tool `{tool.id}`: {place}: {one_line(error.message, _MAX_ERROR)}")
    if schema.get("type", "object") != "object":
        raise CoalmError(
            f"tool `{tool.id}`: parameters.type: expected `object`, whose properties are the "
            f"arguments, found {schema['type']!r}"
        )


class ToolRefusedError(ToolError):
    """A call that is not run. The message goes to the model."""


def check_arguments(tool: ToolParams, arguments: Mapping[str, Json]) -> None:
    """Validates arguments against the tool's JSON Schema.

    Raises:
        ToolRefusedError: They violate it. The message names the argument and what is expected.
    """
    properties = tool.parameters.get("properties")
    if is_object(properties):
        # JSON Schema allows additional properties, but no tool expects any.
        unknown = [name for name in arguments if name not in properties]
        open_ended = tool.parameters.get("additionalProperties") or tool.parameters.get(
            "patternProperties"
        )
        if unknown and not open_ended:
            raise ToolRefusedError(
                f"`{tool.id}` takes no `{unknown[0]}`; it takes {', '.join(properties) or 'none'}"
            )
    # With an empty registry, jsonschema fetches no `$ref` to an address or a file. The schemas
    # come from servers, which are untrusted.
    schema, registry = tool.parameters, referencing.Registry[Json]()
    validator = jsonschema.validators.validator_for(schema)(schema, registry=registry)
    error = _best_match(validator.iter_errors(dict(arguments)))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path)
        where = f"`{tool.id}`, argument `{place}`" if place else f"`{tool.id}`"
        raise ToolRefusedError(f"{where}: {error.message[:_MAX_ERROR]}")


def _best_match(
    errors: Iterable[jsonschema.ValidationError],
) -> jsonschema.ValidationError | None:
    return cast(
        "jsonschema.ValidationError | None",
        jsonschema.exceptions.best_match(errors),  # pyright: ignore[reportUnknownMemberType]
    )


def failed(message: str) -> str:
    """Writes the observation of a call that failed."""
    return dumps({"status": "failed", "message": message})


def _build_with_oumi(params: EnvironmentParams) -> BaseEnvironment:
    # Here, since Oumi may be loading its builders while it loads this package.
    from oumi.builders.environments import build_environment

    return build_environment(params)


def _text(output: Json) -> str:
    text = output if isinstance(output, str) else dumps(output)
    if len(text) > MAX_OBSERVATION:
        left_out = len(text) - MAX_OBSERVATION
        return f"{text[:MAX_OBSERVATION]} ... ({left_out} more characters left out)"
    return text
