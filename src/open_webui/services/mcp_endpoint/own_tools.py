"""The tools of one person, as MCP clients see and call them: plugins, tool servers, built-in tools."""

import asyncio
import re
from typing import Any, Final, Protocol

import msgspec

from llamaforge.tools.step import shorten
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.models import tools
from open_webui.models.repository import MAX_PAGE_SIZE, Query
from open_webui.models.tools import ToolRow
from open_webui.principal import Principal
from open_webui.services.builtin.deps import Deps as BuiltInDeps
from open_webui.services.builtin.rows import ROWS
from open_webui.services.mcp_endpoint.messages import BAD_PARAMS, Problem, Wire
from open_webui.services.mcp_endpoint.progress import CallProgress
from open_webui.services.tool_servers import ToolServers
from open_webui.services.toolbox import Toolbox
from open_webui.tools.arguments import fitted, problems
from open_webui.tools.port import Asked, Tool, ToolResult

log = get_logger(__name__)
# As the protocol wants them.
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# Characters of pictures and the like in one result.
_MOST_MEDIA: Final = 24 * 2**20
_LEFT_OUT: Final = "Something was left out, since the result is too large."
_DATA: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")
# Categories of built-in tools that change nothing, tools of others that don't, and categories that need a page.
_READING: Final = frozenset({"time", "chats", "knowledge", "web_search", "channels"})
_READERS: Final = frozenset({"search_calendar_events", "list_automations"})
_ON_PAGES: Final = {"builtinTools": {"user_input": False}}


class Deps(BuiltInDeps, Protocol):
    """What it needs of the state."""

    @property
    def toolbox(self) -> Toolbox: ...

    @property
    def tool_servers(self) -> ToolServers: ...


class OwnTools:
    """All that somebody may call. Of two with one name a plugin counts before a built-in tool, and that before a server's."""

    def __init__(self, deps: Deps, principal: Principal) -> None:
        self._deps, self._principal = deps, principal

    async def listed(self) -> list[Wire]:
        """Each as the protocol describes it. What a server that is away would have is missing."""
        found: dict[str, Wire] = {}
        for row in await self._plugins():
            for spec in row.specs:
                if isinstance(spec, dict):
                    _add(found, spec)
        categories = {row.name: row.category for row in ROWS}
        for name, tool in (await self._built_in()).items():
            category = categories[name]
            reads = category in _READING or name in _READERS
            hints = {"readOnlyHint": reads, "openWorldHint": category == "web_search"}
            _add(found, tool.definition, annotations=hints)
        for tool in (await self._of_servers()).values():
            _add(found, tool.definition)
        return list(found.values())

    async def find(self, name: str) -> Tool:
        """The one of a name. Raises Problem where there is none, OuiError."""
        for row in await self._plugins():
            if any(isinstance(spec, dict) and spec.get("name") == name for spec in row.specs):
                of_plugin = await self._deps.toolbox.tools(self._asked(row.id))
                if name in of_plugin:
                    return of_plugin[name]
        tool = (await self._built_in()).get(name) or (await self._of_servers()).get(name)
        if tool is None:
            raise Problem(BAD_PARAMS, f"Unknown tool: {name[:200]}")
        return tool

    def _asked(self, *ids: str) -> Asked:
        return Asked(
            principal=self._principal,
            ids=ids,
            brought=frozenset(ids),
            features=frozenset({"web_search"}),
            wants_builtin=True,
            meta=_ON_PAGES,
        )

    async def _plugins(self) -> list[ToolRow]:
        settings = self._deps.settings
        if settings.safe_mode or not (settings.enable_plugins and settings.enable_tools):
            return []
        async with self._deps.database.read() as connection:
            page = await tools.brief.page(connection, self._principal, Query(size=MAX_PAGE_SIZE))
        return page.items

    async def _built_in(self) -> dict[str, Tool]:
        if not self._deps.config["tools.builtin.enable"]:
            return {}
        return await self._deps.toolbox.offered(self._asked())

    async def _of_servers(self) -> dict[str, Tool]:
        ids = [server.tool_id for server in self._deps.tool_servers.usable(self._principal)]
        return await self._deps.toolbox.tools(self._asked(*ids)) if ids else {}


def _add(found: dict[str, Wire], definition: Wire, **more: Any) -> None:
    name, schema = definition.get("name"), definition.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in found:
        return
    has_schema = isinstance(schema, dict) and schema.get("type") == "object"
    described = {
        "name": name,
        "description": definition.get("description") or name,
        "inputSchema": schema if has_schema else {"type": "object"},
    }
    found[name] = described | more


async def call(tool: Tool, arguments: dict[str, Any], progress: CallProgress) -> Wire:
    """What the protocol answers to a call. What goes wrong inside is a result that says so."""
    schema = tool.definition.get("parameters")
    arguments = fitted(schema, arguments)
    if wrong := problems(schema, arguments):
        return _failed(f"The arguments are not as the tool's schema says: {'; '.join(wrong)}.")
    try:
        async with asyncio.timeout(tool.seconds) as limit:
            return _content(await tool.run(arguments, progress), progress)
    except OuiError as error:
        return _failed(error.detail)
    except Exception as error:
        # A tool is other people's code: what it raises is for the client to hear.
        if isinstance(error, TimeoutError) and limit.expired():
            return _failed(f"The tool did not answer within {tool.seconds:g} seconds.")
        log.exception("a tool failed for an MCP client", tool=tool.definition.get("name"))
        return _failed(f"The tool failed ({type(error).__name__}).")


def _failed(sentence: str) -> Wire:
    return {"content": [_text(sentence)], "isError": True}


def _text(text: str) -> Wire:
    return {"type": "text", "text": text}


def _content(given: ToolResult, progress: CallProgress) -> Wire:
    """A result in the protocol's blocks: those of an MCP server as they came, else text, pictures and pages."""
    blocks = [*given.blocks] or [_text(shorten(given.text)), *(_file(file) for file in given.files)]
    if progress.text:
        blocks.insert(0, _text(progress.text))
    blocks += [_file(file) for file in progress.files]
    blocks += [_page(n, page) for n, page in enumerate([*given.embeds, *progress.embeds], 1)]
    kept, left = [], _MOST_MEDIA
    for block in blocks:
        left -= len(msgspec.json.encode(block))
        if left < 0:
            kept.append(_text(_LEFT_OUT))
            break
        kept.append(block)
    out: Wire = {"content": kept} | ({"isError": True} if given.failed else {})
    return out if given.structured is None or left < 0 else out | {"structuredContent": given.structured}


def _file(file: Wire) -> Wire:
    url, name = str(file.get("url") or ""), str(file.get("name") or "file")
    if (data := _DATA.match(url)) is not None and data[1].startswith(("image/", "audio/")):
        return {"type": data[1].partition("/")[0], "mimeType": data[1], "data": url[data.end() :]}
    return {"type": "resource_link", "uri": url or "about:blank", "name": name}


def _page(number: int, html: str) -> Wire:
    resource = {"uri": f"oui://embed/{number}", "mimeType": "text/html", "text": html}
    return {"type": "resource", "resource": resource}
