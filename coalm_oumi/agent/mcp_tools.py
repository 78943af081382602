"""`coalm-mcp`: the tools of a server that speaks the Model Context Protocol (MCP) over HTTP.

Oumi's endpoint environment leaves the wire format to a protocol; this is the one of MCP. The client
is the `mcp` package, which `pip install 'coalm-oumi[mcp]'` adds.
"""
# pyright: standard

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
from oumi.core.configs.params.environment_params import EnvironmentParams
from oumi.core.configs.params.tool_params import ToolError, ToolParams
from oumi.core.registry import register_environment

# Not from `oumi.environments`: Oumi may be loading it while it loads this package.
from oumi.environments.endpoint_environment import EndpointEnvironment, RemoteToolCall
from pydantic import Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options, Text
from coalm_oumi.core.wording import one_line

if TYPE_CHECKING:
    from mcp import ClientSession

_MAX_PAGES = 100
"""The most pages of tools to read, since a server could always announce one more."""


class McpKwargs(Options):
    """The `env_kwargs` of a recipe.

    Attributes:
        url: The server's address, such as `http://127.0.0.1:8000/mcp`.
        timeout_seconds: The most seconds for the server's list of tools and for each call.
    """

    url: Text
    timeout_seconds: float = Field(default=30.0, gt=0)


@register_environment("coalm-mcp")
class McpEnvironment(EndpointEnvironment):
    """Calls the tools of an MCP server."""

    def __init__(self, params: EnvironmentParams, server: "McpServer") -> None:
        """Takes the tools of a connected server.

        Args:
            params: Lists the tools to use. If a recipe lists none, all are used, with the server's
                descriptions, and the user is asked before one runs that is not marked read-only.
            server: The server. This environment closes it.

        Raises:
            ValueError: The recipe lists a tool that the server does not have.
        """
        self._server = server
        offered = server.tools()
        names = [tool.id for tool in offered]
        unknown = [tool.id for tool in params.tools if tool.id not in names]
        if unknown:
            raise ValueError(
                f"the server has no tool `{unknown[0]}`; it has {', '.join(names) or 'none'}"
            )
        params.tools = params.tools or offered
        super().__init__(params, server)

    @classmethod
    def from_params(cls, params: EnvironmentParams) -> "McpEnvironment":
        """Connects to the server that a recipe names.

        Raises:
            CoalmError: The package `mcp` is missing, or the server does not answer.
        """
        kwargs = McpKwargs.read(
            params.env_kwargs or {}, where=f"environment `{params.id}`: env_kwargs"
        )
        server = McpServer(kwargs.url, kwargs.timeout_seconds)
        try:
            return cls(params, server)
        except BaseException:
            server.close()
            raise

    def close(self) -> None:
        """Ends the session with the server."""
        self._server.close()


class McpServer:
    """A session with an MCP server; also the protocol of Oumi's endpoint environment."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connects.

        Args:
            url: The server's address.
            timeout: Seconds that it may take for each request.

        Raises:
            CoalmError: The package `mcp` is missing, or the server does not answer.
        """
        self._timeout = timeout
        with contextlib.ExitStack() as stack:
            self._portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
            try:
                session = self._portal.wrap_async_context_manager(_session(url, timeout))
                self._session = stack.enter_context(session)
            except ImportError as error:
                raise CoalmError(
                    "MCP servers need the package `mcp`: pip install 'coalm-oumi[mcp]'"
                ) from error
            except Exception as error:
                raise CoalmError(f"no MCP server answers at {url}: {_cause(error)}") from error
            self._stack = stack.pop_all()

    def tools(self) -> list[ToolParams]:
        """Returns the server's tools as Oumi declares them.

        Raises:
            CoalmError: The server does not list them.
        """
        tools: list[ToolParams] = []
        cursor = None
        try:
            for _ in range(_MAX_PAGES):
                page = self._run(self._session.list_tools, **_from_page(cursor))
                tools += [_tool(tool) for tool in page["tools"]]
                cursor = page.get("nextCursor")
                if not cursor:
                    break
        except Exception as error:
            raise CoalmError(f"the MCP server does not list its tools: {_cause(error)}") from error
        return tools

    def call(self, request: RemoteToolCall) -> Json:
        """Runs a call and returns its result: structured content if there is any, else the text.

        Raises:
            ToolError: The tool failed. The message is the server's.
        """
        result = self._run(self._session.call_tool, request.name, request.arguments)
        text = "\n".join(part["text"] for part in result["content"] if part["type"] == "text")
        if result.get("isError"):
            raise ToolError(text or f"`{request.name}` failed")
        structured = result.get("structuredContent")
        return text if structured is None else structured

    def close(self) -> None:
        """Ends the session."""
        self._stack.close()

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        """Makes a request. Returns the answer in the form of MCP, which every `mcp` release has."""

        async def request() -> Any:
            with anyio.fail_after(self._timeout):
                return await function(*arguments, **options)

        try:
            answer = self._portal.call(request)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {self._timeout:g} seconds") from error
        return answer.model_dump(by_alias=True, mode="json", exclude_none=True)


@contextlib.asynccontextmanager
async def _session(url: str, timeout: float) -> AsyncIterator["ClientSession"]:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(url) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        with anyio.fail_after(timeout):
            await session.initialize()
        yield session


def _from_page(cursor: str | None) -> dict[str, Any]:
    from mcp.types import PaginatedRequestParams

    return {"params": PaginatedRequestParams(cursor=cursor)} if cursor else {}


def _tool(record: Mapping[str, Json]) -> ToolParams:
    name = record["name"]
    return ToolParams(
        id=name,
        name=record.get("title") or name,
        description=record.get("description") or record.get("title") or name,
        parameters=record["inputSchema"],
        read_only=bool(record.get("annotations", {}).get("readOnlyHint", False)),
    )


def _cause(error: BaseException) -> str:
    """Returns the first error of a task group in words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return one_line(error)
