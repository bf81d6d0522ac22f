"""What MCP clients read: the files of knowledge bases that a person may read, and the person's own chats."""

import base64
from typing import Any, Final

from open_webui.errors import NotFound
from open_webui.models import chat_lists, knowledge_files
from open_webui.models.chat_lists import Wanted
from open_webui.models.repository import Query
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.services import files
from open_webui.services.mcp_endpoint.messages import BAD_PARAMS, NO_RESOURCE, Problem, Wire, position, word
from open_webui.services.mcp_endpoint.own_tools import Deps

FILE: Final = "oui://file/"
CHAT: Final = "oui://chat/"
TEMPLATES: Final = (
    {
        "uriTemplate": f"{FILE}{{id}}",
        "name": "file",
        "title": "A file",
        "description": "The text of a file that you may read; of one without a text its bytes.",
    },
    {
        "uriTemplate": f"{CHAT}{{id}}",
        "name": "chat",
        "title": "A chat",
        "description": "The newest branch of a chat that you may read.",
        "mimeType": "text/markdown",
    },
)
# Of each kind on a page.
_SIZE: Final = 100
# Characters of a text, and bytes of a file that has none.
_MOST: Final = 1_000_000
_MOST_BYTES: Final = 8 * 2**20
_MORE: Final = "\n\n[It is longer than this. Read the rest with view_knowledge_file.]"
_MISSING: Final = "There is no such resource, or it is not yours to read."


async def listed(deps: Deps, principal: Principal, params: Wire) -> Wire:
    """Files and chats in pages, the newest first."""
    page = position(params) + 1
    async with deps.database.read() as connection:
        held = await knowledge_files.search(connection, principal, Query(number=page, size=_SIZE))
        wanted = Wanted("active", include_pinned=True, include_folders=True)
        chats = await chat_lists.rows(connection, principal.id, wanted, page=page, size=_SIZE)
    found = {file.id: _file(file) for file in held.items}
    out: Wire = {"resources": [*found.values(), *(_chat(chat) for chat in chats)]}
    has_more = len(held.items) == _SIZE or len(chats) == _SIZE
    return out | ({"nextCursor": str(page)} if has_more else {})


def _file(file: Any) -> Wire:
    return {
        "uri": FILE + file.id,
        "name": file.filename,
        "description": "A file of a knowledge base",
        "mimeType": file.mime if file.hash is None else "text/plain",
    }


def _chat(chat: Any) -> Wire:
    return {"uri": CHAT + chat.id, "name": chat.title, "description": "A chat", "mimeType": "text/markdown"}


async def values(deps: Deps, principal: Principal, template: str, argument: str, begun: str) -> list[str]:
    """Ids for an address: of the newest files or chats that begin so, or have that in their names. Raises Problem."""
    kind = next((t["uriTemplate"].removesuffix("{id}") for t in TEMPLATES if t["uriTemplate"] == template), None)
    if kind is None or argument != "id":
        raise Problem(BAD_PARAMS, "There is no such template, or it has no such argument.")
    found = (await listed(deps, principal, {}))["resources"]
    ids = {one["uri"].removeprefix(kind): one["name"] for one in found if one["uri"].startswith(kind)}
    return [one for one, name in ids.items() if one.startswith(begun) or begun.lower() in name.lower()]


async def read(deps: Deps, principal: Principal, params: Wire) -> Wire:
    """One of them. Raises Problem."""
    uri = word(params, "uri")
    kind = next((kind for kind in (FILE, CHAT) if uri.startswith(kind)), "")
    thing_id = uri.removeprefix(kind)
    content = None
    if kind and thing_id.isprintable():
        content = await (_text_of_chat if kind == CHAT else _content_of_file)(deps, principal, thing_id)
    if content is None:
        raise Problem(NO_RESOURCE, _MISSING, {"uri": uri})
    return {"contents": [{"uri": uri} | content]}


async def _text_of_chat(deps: Deps, principal: Principal, chat_id: str) -> Wire | None:
    chat = await deps.library.transcript(principal, chat_id, _MOST)
    return None if chat is None else {"mimeType": "text/markdown", "text": f"# {chat.name}\n\n{chat.text}"}


async def _content_of_file(deps: Deps, principal: Principal, file_id: str) -> Wire | None:
    texts = await deps.library.whole(principal, Scope(files=(file_id,)), _MOST)
    if texts:
        return {"mimeType": "text/plain", "text": texts[0].text + (_MORE if texts[0].is_cut else "")}
    try:
        file = await files.get(deps, principal, file_id)
    except NotFound:
        return None
    if file.size > _MOST_BYTES:
        raise Problem(
            NO_RESOURCE, f"This file has no text, and more than {_MOST_BYTES:,} bytes.", {"uri": FILE + file_id}
        )
    parts = [part async for part in deps.blobs.read(file.blob)]
    return {"mimeType": file.mime, "blob": base64.b64encode(b"".join(parts)).decode()}
