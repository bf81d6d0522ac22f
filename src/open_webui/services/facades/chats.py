"""Chats: read and changed with the rights of the one who asks. A chat that this person may not read is None."""

import asyncio
from typing import Any, Final

import msgspec

from open_webui import constants
from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest, NotFound, TooLarge
from open_webui.models import chat_lists
from open_webui.models import tags as stored_tags
from open_webui.models.base import now
from open_webui.models.chat_lists import Wanted
from open_webui.models.chat_rows import ChatRow
from open_webui.schemas.chats import ChatBody, EventForm, MessageForm
from open_webui.services import chats, new_chats, saving, uploads
from open_webui.services.changes import change_chat
from open_webui.services.chats import Reply, UnknownChat
from open_webui.services.facades.use import Use

# Bytes of a chat that a plugin is given at once.
_MOST: Final = 12 * 2**20
# From here on it is decoded in a thread.
_LARGE: Final = 256 * 1024
_MOST_LISTED: Final = 1_000
_MOST_FILES: Final = 1_000
_encode, _decode = msgspec.json.encode, msgspec.json.decode


# Reading


async def by_id(use: Use) -> dict[str, Any] | None:
    """The whole chat. With a person's id, only where it is that person's."""
    found = await _document(use, use.text("id"))
    if found is None or (use.has("user_id") and found["user_id"] != use.text("user_id")):
        return None
    return found


async def _document(use: Use, chat_id: str) -> dict[str, Any] | None:
    try:
        return await _whole(await chats.read(use.deps, use.principal, chat_id))
    except NotFound:
        return None


async def _whole(reply: Reply) -> dict[str, Any]:
    """A document as a value. Raises TooLarge."""
    data = bytearray(_encode(reply)) if isinstance(reply, dict) else bytearray()
    if not isinstance(reply, dict):
        async for part in reply:
            data += part
            if len(data) > _MOST:
                break
    if len(data) > _MOST:
        raise TooLarge(f"The chat has more than {_MOST // 2**20} MB, which is more than a plugin is given at once.")
    document: dict[str, Any] = await asyncio.to_thread(_decode, data) if len(data) > _LARGE else _decode(data)
    return document


async def _row(use: Use, name: str = "id") -> ChatRow | None:
    """The chat without its messages."""
    try:
        return await chats.find(use.deps, use.principal, use.text(name))
    except NotFound:
        return None


async def title(use: Use) -> str | None:
    row = await _row(use)
    return None if row is None else row.title


async def history(use: Use) -> dict[str, Any] | None:
    """All messages by their ids."""
    found = await _document(use, use.text("id"))
    return None if found is None else found["chat"]["history"]["messages"]


async def messages(use: Use) -> list[dict[str, Any]]:
    found = await _document(use, use.text("chat_id"))
    if found is None:
        return []
    held = found["chat"]["history"]["messages"]
    return [message | {"id": message_id, "chat_id": found["id"]} for message_id, message in held.items()]


async def message(use: Use) -> dict[str, Any] | None:
    held = await history(use)
    return None if held is None else held.get(use.text("message_id"))


async def listed(use: Use) -> list[dict[str, Any]]:
    """One's own chats, without what is said in them, the last changed first."""
    if not use.is_own():
        return []
    asked = use.maybe_object("filter")
    archived = use.arguments.get("include_archived") is True
    query = asked.get("query")
    kind: Any = "all" if archived else "active"
    wanted = Wanted(kind, include_pinned=True, include_folders=True)
    skip, limit = _span(use)
    async with use.deps.database.read() as connection:
        rows = await chat_lists.rows(
            connection,
            use.principal.id,
            wanted,
            page=1,
            size=skip + limit,
            query=query[: constants.MAX_TITLE] if isinstance(query, str) else None,
        )
    return [_line(use, row) for row in rows[skip:]]


async def in_folder(use: Use) -> list[dict[str, Any]]:
    """One's own chats in a folder."""
    if not use.is_own():
        return []
    skip, limit = _span(use)
    async with use.deps.database.read() as connection:
        rows = await chat_lists.rows(
            connection,
            use.principal.id,
            Wanted("folder"),
            page=1,
            size=skip + limit,
            folder_id=use.text("folder_id"),
        )
    return [_line(use, row) | {"folder_id": use.text("folder_id")} for row in rows[skip:]]


def _span(use: Use) -> tuple[int, int]:
    return use.number("skip", 0, most=chat_lists.MAX_ROWS), use.number("limit", 60, most=_MOST_LISTED)


def _line(use: Use, row: chat_lists.ListRow) -> dict[str, Any]:
    return {"user_id": use.principal.id} | msgspec.structs.asdict(row)


async def tags(use: Use) -> list[dict[str, Any]]:
    row = await _row(use)
    if row is None or row.user_id != use.text("user_id"):
        return []
    async with use.deps.database.read() as connection:
        return [msgspec.structs.asdict(tag) for tag in await stored_tags.of_chat(connection, row.id)]


# Changing: what this person may not change is refused with a sentence


async def rename(use: Use) -> dict[str, Any]:
    given = use.text("title", limit=100_000).strip()[: constants.MAX_TITLE]
    if not given:
        raise BadRequest("A chat needs a title.")
    changed = await chats.change(use.deps, use.principal, use.text("id"), title=given, updated_at=now())
    return await _whole(changed)


async def update(use: Use) -> dict[str, Any]:
    return await _whole(await saving.update(use.deps, use.principal, use.text("id"), _body(use.object("chat"))))


async def create(use: Use) -> dict[str, Any]:
    """A new chat of the person's own, with an id of its own."""
    _own(use)
    form = use.object("form_data")
    chat, folder_id = form.get("chat"), form.get("folder_id")
    if not isinstance(chat, dict):
        raise BadRequest("insert_new_chat: 'chat' should be a dictionary.")
    if folder_id is not None and not isinstance(folder_id, str):
        raise BadRequest("insert_new_chat: 'folder_id' should be a text.")
    return await _whole(await new_chats.create(use.deps, use.principal, _body(chat, folder_id)))


def _body(chat: dict[str, Any], folder_id: str | None = None) -> ChatBody:
    return ChatBody({name: msgspec.Raw(_encode(value)) for name, value in chat.items()}, folder_id=folder_id)


def _own(use: Use) -> None:
    """Raises BadRequest: nothing is made in somebody else's name."""
    if use.has("user_id") and not use.is_own():
        raise BadRequest(f"{use.name}: a plugin works for the person who called it, and for nobody else.")


async def move(use: Use) -> dict[str, Any]:
    _own(use)
    folder_id = use.maybe_text("folder_id")
    changed = await chats.change(use.deps, use.principal, use.text("id"), folder_id=folder_id, pinned=False)
    return await _whole(changed)


async def add_tag(use: Use) -> dict[str, Any]:
    _own(use)
    name = use.text("tag_name", limit=constants.MAX_NAME)
    tag_id = stored_tags.id_of(name)
    if tag_id in {"", "none"}:
        raise BadRequest("A tag can't be named so.")
    async with change_chat(use.deps.database, use.principal, use.text("id"), "own", error=UnknownChat) as (unit, chat):
        await stored_tags.add(unit.connection, chat, [name])
    return {"tag_name": tag_id, "id": tag_id, "chat_id": chat.id, "user_id": chat.user_id}


async def use_files(use: Use) -> list[dict[str, Any]] | None:
    """Says which files a message uses. Nothing is stored: the server finds that in the message itself."""
    _own(use)
    row = await _row(use, "chat_id")
    if row is None:
        return None
    message_id = use.maybe_text("message_id")
    wanted = use.ids("file_ids", most=_MOST_FILES)
    found = [await uploads.find(use.deps, use.principal, file_id) for file_id in wanted]
    return [{"chat_id": row.id, "message_id": message_id, "file_id": file.id} for file in found if file is not None]


async def add_files(use: Use) -> list[dict[str, Any]]:
    """Adds files to a message, also to one that is being written; the page shows them. Gives all that it has then."""
    await _tell(use, "files", {"files": use.objects("files")})
    there = (await message(use) or {}).get("files")
    return there if isinstance(there, list) else []


async def add_status(use: Use) -> dict[str, Any] | None:
    await _tell(use, "status", use.object("status"))
    return await _document(use, use.text("id"))


async def put_message(use: Use) -> dict[str, Any] | None:
    """Sets the text of a message, and adds to its files, sources and states what is not there yet."""
    given = use.object("message")
    message_id = use.text("message_id")
    if (content := given.get("content")) is not None:
        form = use.filled(MessageForm, {"content": content})
        await chats.set_message(use.deps, use.principal, use.text("id"), message_id, form)
    stored = await message(use)
    for name, event in (("files", "files"), ("sources", "source"), ("statusHistory", "status")):
        await _add_missing(use, event, given.get(name), (stored or {}).get(name))
    return await _document(use, use.text("id"))


async def _add_missing(use: Use, event: str, given: Any, stored: Any) -> None:
    if not isinstance(given, list):
        return
    new = [one for one in given if isinstance(one, dict) and one not in (stored if isinstance(stored, list) else ())]
    if new and event == "files":
        await _tell(use, event, {"files": new})
    elif event != "files":
        for one in new[:_MOST_FILES]:
            await _tell(use, event, one)


async def _tell(use: Use, kind: str, data: dict[str, Any]) -> None:
    form = EventForm(type=kind, data=data)
    await chats.add_event(use.deps, use.principal, use.text("id"), use.text("message_id", limit=MAX_ID), form)
