"""What a tool is, what asks for tools, and what gives them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from open_webui.principal import Principal


class Progress(Protocol):
    """What a running tool may tell whoever waits for the answer."""

    async def add_status(self, status: dict[str, Any]) -> None:
        """Shows and stores one entry of the answer's `statusHistory`."""
        ...

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        """Shows and stores one of the answer's sources, in the form of contract/socket.md. Says by which number each of its
        passages is cited.
        """
        ...

    @property
    def metadata(self) -> dict[str, Any]:
        """What plugins of one answer hand on to each other: one dictionary from the first to the last."""
        ...

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Has the answer take one of the wire's events, and tells it. Raises BadRequest for what is none."""
        ...

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        """Asks the page that asked the question, and waits for what it says. Raises OuiError where it doesn't answer."""
        ...


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a call gave. text: for the model. files, embeds: for the page, in the wire's form. failed: it did not work.

    blocks, structured: the same as an MCP server gave it, for clients that speak MCP, too.
    """

    text: str
    files: tuple[dict[str, Any], ...] = ()
    embeds: tuple[str, ...] = ()
    failed: bool = False
    blocks: tuple[dict[str, Any], ...] = ()
    structured: dict[str, Any] | None = None


class Tool(Protocol):
    """Something that a model may call.

    definition: OpenAI's function object (name, description, parameters). seconds: how long one call may take.
    """

    definition: dict[str, Any]
    seconds: float

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """One call. An OuiError's sentence goes to the model; cancelling it is a person's stop."""
        ...


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One answer for which tools are wanted.

    principal: who asked; all that a tool does is done in this person's name. ids: those that were chosen, by the page or
    with the model: a plugin's id, `server:ID`, `server:mcp:ID`. servers: those that the person's own page calls, as it
    describes them. features: names of what is to be done besides. meta: the model's own settings. session_id: the socket of
    the page. chat_id, message_id: None in a temporary chat. is_own: False in a chat that is somebody else's, who reads what
    tools find. files: what the question has attached, as the wire has it.
    brought: those of `ids` that came with the model: one that is not there is left out. messages: what the model is asked.
    wants_builtin: the tools that every model may call are wanted, too. needed: names of those built-in ones that come with
    what an answer holds. terminal_id: the terminal that the model may work on. skills: ids of those that it
    may read.
    tell: shows and stores a status while tools are put together, as Progress.add_status. tools, call: what plugins of the
    answer may call, and what calls one of them.
    """

    principal: Principal
    ids: tuple[str, ...] = ()
    servers: tuple[dict[str, Any], ...] = ()
    features: frozenset[str] = frozenset()
    model_id: str = ""
    meta: Mapping[str, Any] = {}
    session_id: str | None = None
    chat_id: str | None = None
    message_id: str | None = None
    is_own: bool = True
    folder_id: str | None = None
    files: tuple[dict[str, Any], ...] = ()
    tell: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    brought: frozenset[str] = frozenset()
    messages: tuple[dict[str, Any], ...] = ()
    is_native: bool = True
    wants_builtin: bool = False
    terminal_id: str | None = None
    needed: frozenset[str] = frozenset()
    skills: tuple[str, ...] = ()
    tools: Mapping[str, Tool] = {}
    call: Callable[[str, dict[str, Any]], Awaitable[ToolResult]] | None = None


class ToolSource(Protocol):
    """A kind of tools: plugins, servers, those that are built in."""

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """Those of the asked ones that it has and that the person may use; what is not its own is passed over.

        Raises OuiError where one that was chosen can't be used.
        """
        ...


# The id of the call that the running task makes: what it asks the person is answered by this, too.
calling: ContextVar[str | None] = ContextVar("call", default=None)
# The answer that the running task makes: a model that is a plugin is told of it.
current: ContextVar[tuple[Asked, Progress] | None] = ContextVar("answer", default=None)
