"""The resources of MCP servers as two tools for models: one lists them, one reads them, for all servers of an answer."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from open_webui.errors import BadRequest, OuiError
from open_webui.services.mcp_servers import At, heard
from open_webui.tools.mcp.results import resource_of
from open_webui.tools.port import Progress, Tool, ToolResult

# As an admin's list of a server's functions has them.
LIST: Final = "list_resources"
READ: Final = "read_resource"
# Things that are listed at once, and characters of what is said of each.
MOST: Final = 100
_MOST_WORDS: Final = 300


async def tools_of(servers: Sequence[At], seconds: float) -> list[Tool]:
    """The tools for servers that say that they have resources, and whose resources are not shut. One that is away has none."""

    async def has(at: At) -> bool:
        try:
            return await at.has("resources")
        except OuiError:
            # Told to the person with the server's tools.
            return False

    found = await asyncio.gather(*(has(at) for at in servers))
    having = [at for at, is_so in zip(servers, found, strict=True) if is_so]
    listing = {at.server.id: at for at in having if at.server.offers(LIST)}
    reading = {at.server.id: at for at in having if at.server.offers(READ)}
    out: list[Tool] = []
    if listing:
        out.append(ListResources(listing, seconds))
    if reading:
        out.append(ReadResource(reading, seconds))
    return out


def _server(servers: dict[str, At]) -> dict[str, Any]:
    return {"type": "string", "enum": list(servers), "description": "The server"}


def _names(servers: dict[str, At]) -> str:
    return ", ".join(at.server.name[:100] for at in servers.values())


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


class ListResources:
    """Which resources there are."""

    def __init__(self, servers: dict[str, At], seconds: float) -> None:
        self._servers, self.seconds = servers, seconds
        fields: dict[str, Any] = {"server": _server(servers)} if len(servers) > 1 else {}
        fields["query"] = {"type": "string", "description": "Words that names, descriptions or addresses have in them"}
        self.definition = {
            "name": LIST,
            "description": f"Lists what can be read with {READ} at: {_names(servers)}."
            " Addresses with names in braces are templates.",
            "parameters": _object(fields, []),
        }

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`. A server that fails is told beside the others; one that is alone fails the call."""
        del progress
        chosen = arguments.get("server")
        servers = [self._servers[chosen]] if chosen in self._servers else list(self._servers.values())
        words = str(arguments.get("query") or "").lower().split()
        texts = await asyncio.gather(*(self._of(at, words, alone=len(servers) == 1) for at in servers))
        return ToolResult(text="\n\n".join(texts))

    async def _of(self, at: At, words: list[str], *, alone: bool) -> str:
        head = f"# {at.server.name[:100]} (server: {at.server.id})"
        try:
            resources, templates = await asyncio.gather(
                at.items("resources/list"), at.items("resources/templates/list")
            )
        except OuiError as error:
            if alone:
                raise
            return f"{head}\n{error.detail}"
        found = [_line(one, "uri") for one in resources] + [_line(one, "uriTemplate") for one in templates]
        fitting = [line for line in found if all(word in line.lower() for word in words)]
        lines = fitting[:MOST] or ["Nothing that fits." if words else "It has none at the moment."]
        if len(fitting) > MOST:
            lines.append(f"[{len(fitting) - MOST:,} more. Ask with a `query`.]")
        return "\n".join([head, *lines])


def _line(one: dict[str, Any], key: str) -> str:
    about = [one.get("title") or one.get("name"), one.get("description")]
    size = one.get("size")
    kind = [one.get("mimeType"), f"{size:,} bytes" if isinstance(size, int) else None]
    said = ": ".join(" ".join(str(part).split())[:_MOST_WORDS] for part in about if part)
    kinds = ", ".join(str(part) for part in kind if part)
    return f"- {one[key]}" + (f" - {said}" if said else "") + (f" ({kinds})" if kinds else "")


class ReadResource:
    """What stands in one."""

    def __init__(self, servers: dict[str, At], seconds: float) -> None:
        self._servers, self.seconds = servers, seconds
        fields: dict[str, Any] = {"server": _server(servers)} if len(servers) > 1 else {}
        fields["uri"] = {"type": "string", "maxLength": 2_000, "description": f"The address, as {LIST} tells it"}
        fields["arguments"] = {
            "type": "object",
            "description": "For a template: the values of the names in its braces",
            "additionalProperties": {"type": "string"},
        }
        self.definition = {
            "name": READ,
            "description": f"Reads a resource of a server: {_names(servers)}.",
            "parameters": _object(fields, [name for name in ("server", "uri") if name in fields]),
        }

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`."""
        # Where there is one, the tool does not ask which.
        at = self._servers.get(str(arguments.get("server"))) or next(iter(self._servers.values()))
        uri, values = str(arguments["uri"]), arguments.get("arguments") or {}
        if "{" in uri and not values:
            raise BadRequest(f"'{uri[:200]}' is a template. Give `arguments` with a value for each name in braces.")
        return resource_of(await heard(at, uri, values, progress, "resources/read"))
