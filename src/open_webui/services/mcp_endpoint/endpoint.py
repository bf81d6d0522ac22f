"""What this server answers to the messages of MCP clients. Nothing is kept between two of them but calls that run."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from open_webui import __version__, constants
from open_webui.errors import OuiError
from open_webui.principal import Principal
from open_webui.services.mcp_endpoint import own_tools, prompts, resources
from open_webui.services.mcp_endpoint.calls import RunningCalls
from open_webui.services.mcp_endpoint.messages import (
    BAD_PARAMS,
    MAX_WORD,
    NO_METHOD,
    REFUSED,
    VERSIONS,
    Notification,
    Problem,
    Request,
    Wire,
    is_id,
    position,
    result,
    word,
)
from open_webui.services.mcp_endpoint.own_tools import OwnTools
from open_webui.services.mcp_endpoint.progress import CallProgress

INSTRUCTIONS: Final = (
    "Tools, documents and chats of one person at this server. Search documents with query_knowledge_files and chats with"
    " search_chats. Their whole texts are resources: oui://file/ID and oui://chat/ID."
)
# Tools and prompts on a page of their lists, and values of an argument that are told.
_SIZE: Final = 200
_MOST_VALUES: Final = 100
_LEVELS: Final = frozenset("debug info notice warning error critical alert emergency".split())


class Deps(own_tools.Deps, Protocol):
    """What it needs of the state."""

    mcp_calls: RunningCalls


class From(Protocol):
    """Where a message comes from. tell: takes the steps of a call, where the client wants to hear of them."""

    @property
    def principal(self) -> Principal: ...

    @property
    def session(self) -> str | None: ...

    @property
    def tell(self) -> Callable[[str], None] | None: ...


async def answer(deps: Deps, sender: From, request: Request) -> Wire:
    """The whole message that answers a request."""
    try:
        method = _METHODS.get(request.method)
        if method is None:
            raise Problem(NO_METHOD, f"This server has no method '{request.method[:100]}'.")
        return result(request, await method(deps, sender, request))
    except Problem as problem:
        return problem.wire(request.id)
    except OuiError as error:
        return Problem(REFUSED, error.detail).wire(request.id)


def note(deps: Deps, sender: From, notification: Notification) -> None:
    """Does what a notification says; of those that mean nothing here, nothing."""
    request = notification.params.get("requestId")
    if notification.method == "notifications/cancelled" and sender.session is not None and is_id(request):
        deps.mcp_calls.cancel(sender.principal.id, sender.session, request)


async def _initialize(_deps: Deps, _sender: From, request: Request) -> Wire:
    wanted = word(request.params, "protocolVersion")
    return {
        "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
        "serverInfo": {"name": "oui-backend", "title": constants.PRODUCT, "version": __version__},
        "instructions": INSTRUCTIONS,
    }


async def _ping(_deps: Deps, _sender: From, _request: Request) -> Wire:
    return {}


async def _tools(deps: Deps, sender: From, request: Request) -> Wire:
    begin = position(request.params)
    listed = await OwnTools(deps, sender.principal).listed()
    end = begin + _SIZE
    return {"tools": listed[begin:end]} | ({"nextCursor": str(end)} if end < len(listed) else {})


async def _prompts(deps: Deps, sender: From, request: Request) -> Wire:
    begin = position(request.params)
    listed = await prompts.listed(deps, sender.principal)
    end = begin + _SIZE
    return {"prompts": listed[begin:end]} | ({"nextCursor": str(end)} if end < len(listed) else {})


async def _prompt(deps: Deps, sender: From, request: Request) -> Wire:
    work = prompts.get(deps, sender.principal, request.params)
    return await deps.mcp_calls.run(sender.principal.id, sender.session, request.id, work)


async def _complete(deps: Deps, sender: From, request: Request) -> Wire:
    ref, argument = request.params.get("ref"), request.params.get("argument")
    if not isinstance(ref, dict) or not isinstance(argument, dict):
        raise Problem(BAD_PARAMS, "`ref` and `argument` of a completion are objects.")
    name, begun = word(argument, "name"), argument.get("value")
    if not isinstance(begun, str) or len(begun) > MAX_WORD:
        raise Problem(BAD_PARAMS, f"The `value` of an argument is a text of at most {MAX_WORD:,} characters.")
    match ref.get("type"):
        case "ref/prompt":
            of, context = word(ref, "name"), request.params.get("context")
            found, has_more = await prompts.values(deps, sender.principal, of, (name, begun), context)
        case "ref/resource":
            found, has_more = await resources.values(deps, sender.principal, word(ref, "uri"), name, begun), False
        case _:
            raise Problem(BAD_PARAMS, 'The `type` of a completion\'s `ref` is "ref/prompt" or "ref/resource".')
    told = found[:_MOST_VALUES]
    counted = {} if has_more else {"total": len(found)}
    return {"completion": {"values": told, **counted, "hasMore": has_more or len(found) > len(told)}}


async def _set_level(_deps: Deps, _sender: From, request: Request) -> Wire:
    """Nothing is kept of a client between two messages, and nothing is logged to it: each level is as good as another."""
    if word(request.params, "level") not in _LEVELS:
        raise Problem(BAD_PARAMS, f"The `level` of a log is one of: {', '.join(sorted(_LEVELS))}.")
    return {}


async def _call(deps: Deps, sender: From, request: Request) -> Wire:
    name, arguments = word(request.params, "name"), request.params.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise Problem(BAD_PARAMS, "The `arguments` of a call are an object.")
    tool = await OwnTools(deps, sender.principal).find(name)
    work = own_tools.call(tool, arguments or {}, CallProgress(sender.tell))
    return await deps.mcp_calls.run(sender.principal.id, sender.session, request.id, work)


async def _resources(deps: Deps, sender: From, request: Request) -> Wire:
    return await resources.listed(deps, sender.principal, request.params)


async def _templates(_deps: Deps, _sender: From, _request: Request) -> Wire:
    return {"resourceTemplates": list(resources.TEMPLATES)}


async def _read(deps: Deps, sender: From, request: Request) -> Wire:
    return await resources.read(deps, sender.principal, request.params)


_METHODS: Final[dict[str, Callable[[Any, Any, Request], Awaitable[Wire]]]] = {
    "initialize": _initialize,
    "ping": _ping,
    "logging/setLevel": _set_level,
    "tools/list": _tools,
    "tools/call": _call,
    "resources/list": _resources,
    "resources/templates/list": _templates,
    "resources/read": _read,
    "prompts/list": _prompts,
    "prompts/get": _prompt,
    "completion/complete": _complete,
}
