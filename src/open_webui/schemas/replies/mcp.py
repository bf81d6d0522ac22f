"""Messages of MCP (JSON-RPC), and what people see of MCP servers."""

from typing import Any, NotRequired, TypedDict


class Error(TypedDict):
    """Why there is no result."""

    code: int
    message: str
    data: NotRequired[Any]


class Message(TypedDict):
    """A request or a notification (`method`), or the answer to a request (`result` or `error`)."""

    jsonrpc: str
    id: NotRequired[str | int | None]
    method: NotRequired[str]
    params: NotRequired[dict[str, Any]]
    result: NotRequired[dict[str, Any]]
    error: NotRequired[Error]


class Server(TypedDict):
    """An MCP server. id: as a chat names it among its tools."""

    id: str
    name: str


class Trouble(TypedDict):
    """Why a server lists nothing."""

    server: Server
    detail: str


class Argument(TypedDict):
    """Something that is filled into a prompt."""

    name: str
    description: str
    required: bool


class Prompt(TypedDict):
    """A prompt of a server. command: what a person writes for it."""

    server: Server
    command: str
    name: str
    title: str
    description: str
    arguments: list[Argument]


class Prompts(TypedDict):
    """Those of all servers, and the servers that don't tell theirs."""

    prompts: list[Prompt]
    troubles: list[Trouble]


class Picture(TypedDict):
    """A picture that goes along with a message."""

    type: str
    url: str
    name: str


class FilledPrompt(TypedDict):
    """A prompt with its arguments: what a message says then, and its pictures."""

    description: str
    text: str
    files: list[Picture]


class Values(TypedDict):
    """What an argument may be. has_more: the server has more that begin so."""

    values: list[str]
    has_more: bool


class Resource(TypedDict):
    """Something that can be read at a server. uri: its address, of a template with names in braces. size: in bytes."""

    server: Server
    uri: str
    name: str
    description: str
    mime_type: str | None
    size: int | None


class Resources(TypedDict):
    """Those of all servers, and the servers that don't tell theirs."""

    resources: list[Resource]
    templates: list[Resource]
    troubles: list[Trouble]
