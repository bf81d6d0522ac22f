"""What a session is asked beside calls of tools: resources, prompts, and what an argument may be. Part of the child process."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import mcp_types as types
from mcp.client import Client
from mcp.shared.uri_template import UriTemplate

from open_webui.tools.mcp.frames import Call, Offer

# Of one server: things of one list, pages of it, and arguments of one prompt.
MAX_ITEMS: Final = 500
MAX_PAGES: Final = 50
# Characters of all pages of one list.
MAX_CHARS: Final = 8 * 2**20
MAX_ARGUMENTS: Final = 50
# Characters of an address, a name, and a description.
_ADDRESS: Final = 2_000
_NAME: Final = 200
_TEXT: Final = 1_000
_BOUNDS: Final = {"uri": _ADDRESS, "uriTemplate": _ADDRESS, "description": _TEXT}
_FIELDS: Final = ("uri", "uriTemplate", "name", "title", "description", "mimeType", "size")


class Refusal(Exception):
    """There is no answer, and the session goes on."""


def offers(client: Client) -> tuple[Offer, ...]:
    """What a server says that it has beside tools."""
    has = client.server_capabilities
    said: dict[Offer, Any] = {"resources": has.resources, "prompts": has.prompts, "completions": has.completions}
    return tuple(name for name, about in said.items() if about is not None)


async def answer(client: Client, call: Call) -> Any:
    """What a server says to a call that is none of a tool. Raises Refusal, and what the library does."""
    try:
        match call.method:
            case "resources/list":
                return await _listed(client.list_resources, "resources", "uri")
            case "resources/templates/list":
                return await _listed(client.list_resource_templates, "resourceTemplates", "uriTemplate")
            case "prompts/list":
                return await _listed(client.list_prompts, "prompts", "name")
            case "resources/read":
                found: Any = await client.read_resource(_address(call.name, call.arguments))
            case "prompts/get":
                found = await client.get_prompt(call.name, call.arguments)
            case "completion/complete":
                found = await _completed(client, call)
            case "tools/call":
                raise Refusal("Tools are called elsewhere.")
    except ValueError as error:
        # Also what the library raises of an answer that is not as the protocol has it.
        raise Refusal(_wrong(error)) from None
    return _wire(found)


async def _listed(fetch: Callable[..., Awaitable[Any]], member: str, key: str) -> list[dict[str, Any]]:
    """A list with all its pages, up to its bounds; a page that leads to one that was read ends it."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    cursor: str | None = None
    left = MAX_CHARS
    for _ in range(MAX_PAGES):
        fetched = await fetch(cursor=cursor)
        left -= len(fetched.model_dump_json())
        page = _wire(fetched)
        for item in page.get(member) or ():
            found.setdefault(item[key], _trimmed(item))
        cursor = page.get("nextCursor")
        if not cursor or cursor in seen or len(found) >= MAX_ITEMS or left <= 0:
            break
        seen.add(cursor)
    # One whose address had to be cut would lead elsewhere.
    return [item for address, item in found.items() if item.get(key) == address][:MAX_ITEMS]


def _trimmed(item: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of one thing: fields that people and models see, each with a bound."""
    out: dict[str, Any] = {}
    for name in _FIELDS:
        value = item.get(name)
        if isinstance(value, str):
            out[name] = value[: _BOUNDS.get(name, _NAME)]
        elif isinstance(value, int):
            out[name] = value
    if "uri" not in item and "uriTemplate" not in item:
        out["arguments"] = [
            {
                "name": str(argument.get("name"))[:_NAME],
                "description": str(argument.get("description") or argument.get("title") or "")[:_TEXT],
                "required": argument.get("required") is True,
            }
            for argument in (item.get("arguments") or ())[:MAX_ARGUMENTS]
        ]
    return out


def _address(address: str, arguments: Mapping[str, Any]) -> str:
    """An address; of a template with the arguments in it. Raises ValueError."""
    if not arguments:
        return address
    template = UriTemplate.parse(address)
    values = {name: _value(value) for name, value in arguments.items()}
    missing = [n for n in template.variable_names if n not in values and n not in template.query_variable_names]
    if missing:
        raise Refusal(f"The template needs values for: {', '.join(missing)}.")
    return template.expand(values)


def _value(value: Any) -> str | list[str]:
    return [str(one) for one in value] if isinstance(value, list) else str(value)


async def _completed(client: Client, call: Call) -> types.CompleteResult:
    about = call.arguments
    ref: types.PromptReference | types.ResourceTemplateReference = (
        types.PromptReference(name=call.name)
        if about.get("kind") == "prompt"
        else types.ResourceTemplateReference(uri=call.name)
    )
    return await client.complete(ref, about["argument"], about.get("context") or None)


def _wire(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _wrong(error: ValueError) -> str:
    name = type(error).__name__
    return (
        f"The server's answer is not as the protocol has it ({name})."
        if name == "ValidationError"
        else str(error)[:500]
    )
