"""Tool servers that admins set up: which there are for whom, what they offer, and the tools of an answer."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from open_webui.config import Config
from open_webui.errors import BadRequest, OuiError
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.schemas.tool_servers import KEY
from open_webui.services import intake, mcp_resources
from open_webui.services.deps import FileDeps
from open_webui.services.mcp_servers import Deps as MCPDeps
from open_webui.services.mcp_servers import MCPServers
from open_webui.tools import servers
from open_webui.tools.mcp_programs import ProgramFile
from open_webui.tools.openapi import BadDocument, Operation, document_of, read
from open_webui.tools.openapi_calls import ServerAway, call, fetch_document
from open_webui.tools.outgoing import headers_for
from open_webui.tools.port import Asked, Progress, Tool, ToolResult
from open_webui.tools.servers import Server

log = get_logger(__name__)
# Seconds after which a document is fetched anew while the old one serves, and a server that was away is asked again.
FRESH: Final = 300.0
AWAY: Final = 15.0
# As the wire has it: the page shows it, and compares it.
CAN_NOT_CONNECT: Final = "Failed to connect to the tool server"
GONE: Final = "The tool server {!r} is not there, or is not for you."


class Deps(MCPDeps, Protocol):
    """What it needs of the state."""

    config: Config
    http: aiohttp.ClientSession


class _Kept(msgspec.Struct):
    """What was found at a server. trouble: why there is nothing."""

    at: float
    operations: dict[str, Operation]
    trouble: str = ""

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self.at > (AWAY if self.trouble else FRESH)


class ToolServers:
    """A source of tools: the OpenAPI servers of the settings. Documents are kept in memory, by what they are asked with."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._kept: dict[str, _Kept] = {}
        self._fetching: dict[str, asyncio.Task[_Kept]] = {}
        self._parsed: tuple[Any, list[Server]] = (None, [])
        self._programs = ProgramFile(deps.settings.data_dir)
        self.mcp = MCPServers(deps)
        self.sign_in = self.mcp.sign_in

    def all(self) -> list[Server]:
        """Every server that is switched on. An entry of the environment or of a file that can't be read is passed over."""
        if not self._deps.settings.enable_tool_servers:
            return []
        entries = self._deps.config[KEY]
        if self._parsed[0] is not entries:
            found: dict[str, Server] = {}
            for number, entry in enumerate(entries):
                try:
                    server = servers.parse(entry if isinstance(entry, dict) else {}, number)
                except BadRequest as error:
                    log.warning("a tool server can't be used", why=error.detail)
                else:
                    found.setdefault(server.tool_id, server)
            self._parsed = (entries, [server for server in found.values() if server.enabled])
        known = {server.tool_id for server in self._parsed[1]}
        return [*self._parsed[1], *(program for program in self._programs.servers() if program.tool_id not in known)]

    def check(self, entries: list[Any]) -> None:
        """Raises BadRequest for entries that can't be used, or not beside each other."""
        servers.parse_all(entries)

    def by_id(self, tool_id: str) -> Server | None:
        """The one that chats name so."""
        return next((server for server in self.all() if server.tool_id == tool_id), None)

    def usable(self, principal: Principal) -> list[Server]:
        """Those that somebody may use."""
        return [server for server in self.all() if server.may_use(principal)]

    def listed(self, principal: Principal) -> list[dict[str, Any]]:
        """The same, as they stand among tools on the wire. What an admin set up besides stays here."""
        at = int(time.time())
        return [_wire(server, at) for server in self.usable(principal)]

    async def listed_for(self, principal: Principal, query: str | None = None) -> list[dict[str, Any]]:
        """The same, with a text in their names. Of servers at which people sign in whether this one has: `authenticated`."""
        rows = [row for row in self.listed(principal) if not query or query.lower() in row["name"].lower()]
        signing = {server.tool_id for server in self.usable(principal) if server.is_signed_in_to}
        done = await self.sign_in.servers_of(principal) if signing else frozenset()
        return [row | ({"authenticated": row["id"] in done} if row["id"] in signing else {}) for row in rows]

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """See `ToolSource`. A server that is away is told to the person, and its tools are missing."""
        wanted = [tool_id for tool_id in asked.ids if tool_id.startswith("server:")]
        if not wanted:
            return ()
        usable = {server.tool_id: server for server in self.usable(asked.principal)}
        found = []
        for tool_id in wanted:
            if (server := usable.get(tool_id)) is None:
                # Not an error: a model may name servers that only some of its users have.
                await tell(asked, GONE.format(tool_id.rpartition(":")[2]))
            else:
                found.append(server)
        offered = await asyncio.gather(*(self.offered(server, asked) for server in found))
        return [tool for tools in (*offered, await self._resources(found, asked)) for tool in tools]

    async def _resources(self, chosen: Sequence[Server], asked: Asked) -> list[Tool]:
        """The tools that list and read the resources of MCP servers."""
        servers = [self.mcp.at(server, asked) for server in chosen if server.kind == "mcp"]
        if not servers:
            return []
        tools = await mcp_resources.tools_of(servers, self._deps.settings.tool_server_seconds)
        return [KeptFiles(tool, self._deps, asked) for tool in tools]

    async def offered(self, server: Server, asked: Asked) -> Sequence[Tool]:
        """The tools of one server. Where it is away there are none, and the person is told."""
        try:
            if server.kind == "mcp":
                return [KeptFiles(tool, self._deps, asked) for tool in await self.mcp.tools(server, asked)]
            kept = await self._operations(server, asked)
        except OuiError as error:
            await tell(asked, f"{server.name} is left out: {error.detail}")
            return ()
        if kept.trouble:
            await tell(asked, f"{server.name} is left out: {kept.trouble}")
        operations = (operation for name, operation in kept.operations.items() if server.offers(name))
        return [KeptFiles(OpenAPITool(self._deps, server, o, asked), self._deps, asked) for o in operations]

    async def _operations(self, server: Server, asked: Asked) -> _Kept:
        # A server that is told who asks may say something else to each.
        asker = asked if server.auth in {"session", "system_oauth"} or server.kind == "terminal" else None
        key = _fingerprint(server, asker)
        kept = self._kept.get(key)
        if kept is not None and not kept.is_stale:
            return kept
        task = self._fetching.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(key, server, asker), name=f"tools of {server.tool_id}")
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        # What is old serves while it is made anew; a person's stop does not stop what others wait for.
        return kept if kept is not None and not kept.trouble else await asyncio.shield(task)

    async def _fetch(self, key: str, server: Server, asked: Asked | None) -> _Kept:
        trouble, found = "", dict[str, Operation]()
        try:
            found = {operation.name: operation for operation in await self.fetch(server, asked)}
        except OuiError as error:
            trouble = error.detail
            log.warning("a tool server is away", server=server.tool_id, why=trouble)
        if trouble and (before := self._kept.get(key)) is not None and before.operations:
            # It may be back for the call.
            found, trouble = before.operations, ""
        if len(self._kept) > 500:
            self._kept.clear()
        self._kept[key] = kept = _Kept(time.monotonic(), found, trouble)
        return kept

    async def fetch(self, server: Server, asked: Asked | None = None) -> list[Operation]:
        """What a server offers now. Raises ServerAway."""
        try:
            return read(server.spec if server.spec is not None else await self._document(server, asked))
        except BadDocument as error:
            raise ServerAway(str(error)) from None

    async def _document(self, server: Server, asked: Asked | None) -> bytes:
        headers = await headers_for(server, self._deps, asked)
        path = server.path or "openapi.json"
        url = path if "://" in path else f"{server.url}/{path.lstrip('/')}"
        seconds = self._deps.settings.aiohttp_client_timeout_tool_server_data
        return await fetch_document(self._deps.http, url, headers, timeout=seconds)

    async def verify(self, entry: dict[str, Any], principal: Principal) -> dict[str, Any]:
        """What the server of an entry says of itself, to see whether it answers. Where it wants the token of people's sign-in
        provider, it gets that of who asks. Raises BadRequest.
        """
        server = servers.parse(entry, 0)
        asked = Asked(principal=principal) if server.auth == "system_oauth" else None
        try:
            if server.kind == "mcp":
                return await self.mcp.verify(server, asked)
            return document_of(server.spec if server.spec is not None else await self._document(server, asked))
        except BadDocument as error:
            raise BadRequest(f"{CAN_NOT_CONNECT}. {error}") from None
        except OuiError as error:
            log.info("a tool server did not answer", url=server.url, why=error.detail)
            raise BadRequest(
                f"{CAN_NOT_CONNECT}. {error.detail}" if server.kind == "mcp" else CAN_NOT_CONNECT
            ) from None

    async def close(self) -> None:
        """Ends what is being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.mcp.close()


class OpenAPITool:
    """One operation of a server, for one answer."""

    def __init__(self, deps: Deps, server: Server, operation: Operation, asked: Asked) -> None:
        self.definition = operation.definition
        self.seconds = deps.settings.tool_server_seconds
        self._deps, self._server, self._operation, self._asked = deps, server, operation, asked

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`."""
        del progress
        headers = await headers_for(self._server, self._deps, self._asked)
        return await call(self._deps.http, self._server.url, self._operation, arguments, headers, timeout=self.seconds)


class KeptFiles:
    """A tool whose pictures become files of the one who asked; in a temporary chat they stay in the answer."""

    def __init__(self, tool: Tool, deps: FileDeps, asked: Asked) -> None:
        self.definition, self.seconds = tool.definition, tool.seconds
        self._tool, self._deps, self._asked = tool, deps, asked

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`."""
        result = await self._tool.run(arguments, progress)
        if not result.files or self._asked.chat_id is None:
            return result
        try:
            files = await intake.keep_made(self._deps, self._asked.principal, list(result.files))
        except OuiError as error:
            text = f"{result.text}\n\n(A picture was left out: {error.detail})"
            return msgspec.structs.replace(result, files=(), text=text)
        return msgspec.structs.replace(result, files=tuple(files))


async def tell(asked: Asked, text: str) -> None:
    """Shows and stores a sentence about tools with the answer."""
    if asked.tell is not None:
        await asked.tell({"action": "tools", "description": text, "done": True})


def _fingerprint(server: Server, asked: Asked | None) -> str:
    """What a server's document depends on: settings that changed have a document of their own."""
    about: list[Any] = [server.url, server.path, server.spec, server.auth, server.key, server.headers]
    about.append(None if asked is None else asked.principal.id)
    return hashlib.sha256(msgspec.json.encode(about)).hexdigest()


def _wire(server: Server, at: int) -> dict[str, Any]:
    return {
        "version_id": None,
        "id": server.tool_id,
        "user_id": server.tool_id,
        "name": server.name,
        "meta": {"i18n": None, "description": server.description, "manifest": {}, "has_user_valves": False},
        "access_grants": [],
        "updated_at": at,
        "created_at": at,
        "user": None,
    }
