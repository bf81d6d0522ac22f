"""Prompts and resources of MCP servers for people: listed, filled in, and attached. All with the rights of the servers' tools."""

import asyncio
import base64
import binascii
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from open_webui.access.permissions import check_uploads
from open_webui.errors import BadRequest, NotFound, OuiError
from open_webui.models.uploads import Upload
from open_webui.principal import Principal
from open_webui.services import intake, uploads
from open_webui.services.mcp_resources import READ
from open_webui.services.mcp_servers import At
from open_webui.services.tool_servers import GONE, ToolServers
from open_webui.tools.mcp.results import prompt_of
from open_webui.tools.openapi import tool_name
from open_webui.tools.port import Asked

Wire = dict[str, Any]
# Servers that are asked for one list; seconds for each, and for what is asked of one alone.
MOST_SERVERS: Final = 50
SECONDS: Final = 20.0
ONE_SECONDS: Final = 60.0
# Values that an argument may have, and characters of each.
MOST_VALUES: Final = 100
_LONGEST_VALUE: Final = 500
SLOW: Final = "The server did not answer in time."
NO_PROMPT: Final = "There is no such prompt at this server."
SHUT: Final = "The resources of this server are not for reading here."
EMPTY: Final = "There is nothing in this resource."


class HasServers(Protocol):
    """What reading needs of the state."""

    @property
    def tool_servers(self) -> ToolServers: ...


class Deps(uploads.Deps, HasServers, Protocol):
    """What keeping files needs besides."""


def servers(deps: HasServers, principal: Principal) -> list[At]:
    """The MCP servers that somebody may use."""
    asked = Asked(principal=principal)
    usable = deps.tool_servers.usable(principal)
    return [deps.tool_servers.mcp.at(server, asked) for server in usable if server.kind == "mcp"][:MOST_SERVERS]


def server(deps: HasServers, principal: Principal, tool_id: str) -> At:
    """One of them. Raises NotFound."""
    for at in servers(deps, principal):
        if at.server.tool_id == tool_id:
            return at
    raise NotFound(GONE.format(tool_id.rpartition(":")[2][:100]))


async def in_time(work: Awaitable[Any], seconds: float = ONE_SECONDS) -> Any:
    """What a server says, if it says it in time. Raises OuiError."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise OuiError(SLOW, status=504) from None


async def _of_all(ats: list[At], ask: Callable[[At], Awaitable[list[Wire]]]) -> tuple[list[Wire], list[Wire]]:
    """What all servers list, and the sentences of those that don't."""
    troubles: list[Wire] = []

    async def one(at: At) -> list[Wire]:
        try:
            found: list[Wire] = await in_time(ask(at), SECONDS)
        except OuiError as error:
            troubles.append({"server": _about(at), "detail": error.detail})
            return []
        return [{"server": _about(at)} | each for each in found]

    lists = await asyncio.gather(*(one(at) for at in ats))
    return [each for found in lists for each in found], troubles


def _about(at: At) -> Wire:
    return {"id": at.server.tool_id, "name": at.server.name}


# Prompts


async def prompts_at(at: At) -> list[Wire]:
    """The prompts of a server that an admin lets people use, by the name that a person writes for each. Raises OuiError."""
    found = await at.items("prompts/list")
    named = ({"command": tool_name(f"{at.server.id}_{one['name']}")} | one for one in found)
    return [one for one in named if at.server.offers(one["name"])]


async def prompts(deps: HasServers, principal: Principal) -> Wire:
    """The prompts of all servers that somebody may use."""
    found, troubles = await _of_all(servers(deps, principal), prompts_at)
    return {"prompts": [_prompt(one) for one in found], "troubles": troubles}


def _prompt(one: Wire) -> Wire:
    return {
        "server": one["server"],
        "command": one["command"],
        "name": one["name"],
        "title": one.get("title") or one["name"],
        "description": one.get("description") or "",
        "arguments": one["arguments"],
    }


async def filled(at: At, name: str, arguments: dict[str, str]) -> Wire:
    """A prompt with its arguments, as MCP's `prompts/get` gives it. Raises OuiError."""
    prompt = await _found(at, name)
    known = {argument["name"]: argument for argument in prompt["arguments"]}
    if unknown := [argument for argument in arguments if argument not in known]:
        raise BadRequest(f"This prompt has no argument {unknown[0][:100]!r}.")
    missing = [argument for argument, about in known.items() if about["required"] and not arguments.get(argument)]
    if missing:
        raise BadRequest(f"This prompt needs: {', '.join(missing)[:500]}.")
    given = {argument: value for argument, value in arguments.items() if value}
    return await at.call(name, given, None, "prompts/get")


async def _found(at: At, name: str) -> Wire:
    for one in await prompts_at(at):
        if one["name"] == name:
            return one
    raise NotFound(NO_PROMPT)


async def prompt(deps: Deps, principal: Principal, tool_id: str, name: str, arguments: dict[str, str]) -> Wire:
    """A prompt as a message of the person's: its text, and its pictures as files. Raises OuiError."""
    said = await in_time(filled(server(deps, principal, tool_id), name, arguments))
    text, files = prompt_of(said)
    if files:
        check_uploads(principal)
        files = await intake.keep_made(deps, principal, files)
    named = [file | {"name": f"picture {number}"} for number, file in enumerate(files, 1)]
    return {"description": str(said.get("description") or "")[:1_000], "text": text, "files": named}


async def values(
    at: At, kind: str, name: str, argument: str, begun: str, context: dict[str, str]
) -> tuple[list[str], bool]:
    """What an argument of a prompt or of a template may be, and whether there is more; nothing where the server doesn't say.

    Raises OuiError.
    """
    if not await at.has("completions"):
        return [], False
    if kind == "prompt":
        await _found(at, name)
    else:
        _check_open(at)
    asked = {"kind": kind, "argument": {"name": argument, "value": begun}, "context": context}
    said = await at.call(name, asked, None, "completion/complete")
    completion = said.get("completion")
    found = completion.get("values") if isinstance(completion, dict) else None
    texts = [one for one in found or () if isinstance(one, str) and len(one) <= _LONGEST_VALUE]
    has_more = isinstance(completion, dict) and completion.get("hasMore") is True
    return texts[:MOST_VALUES], has_more or len(texts) > MOST_VALUES


# Resources


def _check_open(at: At) -> None:
    if not at.server.offers(READ):
        raise NotFound(SHUT)


async def resources(deps: HasServers, principal: Principal) -> Wire:
    """The resources of all servers that somebody may use, and the templates of addresses that they have."""
    # What may not be read here is not listed either.
    ats = [at for at in servers(deps, principal) if at.server.offers(READ)]
    found, troubles = await _of_all(ats, _resources_at)
    return {
        "resources": [_resource(one, "uri") for one in found if "uri" in one],
        "templates": [_resource(one, "uriTemplate") for one in found if "uriTemplate" in one],
        "troubles": troubles,
    }


async def _resources_at(at: At) -> list[Wire]:
    lists = await asyncio.gather(at.items("resources/list"), at.items("resources/templates/list"))
    return [one for found in lists for one in found]


def _resource(one: Wire, key: str) -> Wire:
    return {
        "server": one["server"],
        "uri": one[key],
        "name": one.get("title") or one.get("name") or one[key],
        "description": one.get("description") or "",
        "mime_type": one.get("mimeType"),
        "size": one.get("size"),
    }


async def attach(deps: Deps, principal: Principal, tool_id: str, uri: str, arguments: dict[str, str]) -> Upload:
    """A resource as a file of the person's, which is read like any other. Raises OuiError."""
    uploads.check_may_upload(principal)
    at = server(deps, principal, tool_id)
    _check_open(at)
    if not await in_time(at.has("resources")):
        raise NotFound(SHUT)
    if "{" in uri and not arguments:
        raise BadRequest("This is a template. Give `arguments` with a value for each name in braces.")
    said = await in_time(at.call(uri, arguments, None, "resources/read"))
    address, mime, data = _bytes(said)
    sent = await uploads.put(deps, principal, _name(address or uri, mime), mime, data)
    sent.metadata = {"source": uri[:2_000], "server": tool_id}
    return await uploads.keep(deps, principal, sent, read=True)


def _bytes(said: Wire) -> tuple[str, str, bytes]:
    """The address, the kind and the bytes of what was read: all its texts, or the first thing that is none. Raises BadRequest."""
    contents = [one for one in said.get("contents") or () if isinstance(one, dict)]
    texts = [one for one in contents if isinstance(one.get("text"), str)]
    if texts:
        text = "\n\n".join(one["text"] for one in texts)
        mime, data = str(texts[0].get("mimeType") or "text/plain"), text.encode("utf-8", "replace")
    else:
        first = contents[0] if contents else {}
        mime = str(first.get("mimeType") or "application/octet-stream")
        try:
            data = base64.b64decode(str(first.get("blob") or ""), validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("The server sent something that can't be decoded.") from None
    if not data.strip():
        raise BadRequest(EMPTY)
    address = str(contents[0].get("uri") or "")[:2_000]
    return address, mime.partition(";")[0].strip()[:200], data


def _name(uri: str, mime: str) -> str:
    """A file's name: the end of the address, with the ending of its kind where it has none."""
    try:
        parts = urlsplit(uri)
        name = PurePosixPath(unquote(parts.path)).name.strip() or parts.netloc
    except ValueError:
        name = ""
    name = name or "resource"
    if PurePosixPath(name).suffix:
        return name
    ending = (
        ".txt"
        if mime == "text/plain"
        else mimetypes.guess_extension(mime) or (".txt" if mime.startswith("text/") else "")
    )
    return name + ending
