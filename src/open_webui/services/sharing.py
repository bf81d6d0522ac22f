"""Sharing: links to chats, and grants that people ask for, checked against what they may give."""

from functools import partial
from typing import Any

import msgspec

from open_webui import constants
from open_webui.access.permissions import check_stores_chats
from open_webui.errors import NotFound
from open_webui.models import chats, messages, shares
from open_webui.models.grants import Grant
from open_webui.models.shares import Share
from open_webui.principal import Principal
from open_webui.schemas.chats import GrantsForm
from open_webui.services.changes import change_chat
from open_webui.services.chats import ChatRefused, Reply, UnknownChat, for_reader, reply, stream, tell_owner
from open_webui.services.deps import Deps
from open_webui.services.new_chats import copy, store_new
from open_webui.utils.threads import in_thread_if_large


async def share(deps: Deps, principal: Principal, chat_id: str, mode: str | None) -> Reply:
    """Makes a link to one's chat, or brings it up to date: to the chat as it is now, or (mode "continue") to the chat."""
    document = await _document(deps, principal, chat_id, mode)
    async with change_chat(deps.database, principal, chat_id, "own", error=ChatRefused) as (unit, held):
        chat = await shares.put(unit.connection, held, _mode(document), document)
        unit.after_commit(partial(deps.identifier.renew, ()))
    return await reply(deps, principal, chat)


class _Whole(msgspec.Struct):
    """A chat's document, of which only the inner object is looked at."""

    chat: msgspec.Raw


async def _document(deps: Deps, principal: Principal, chat_id: str, mode: str | None) -> msgspec.Raw | None:
    """What a snapshot of one's chat shows, None for a link to the chat itself. Read before anybody waits for the writing."""
    async with deps.database.read() as connection:
        chat = await chats.own(connection, principal.id, chat_id)
    if mode == "continue" or chat is None:
        return None
    parts = [part async for part in stream(deps, chat)]
    return (
        await in_thread_if_large(chat.next_position, lambda: msgspec.json.decode(b"".join(parts), type=_Whole))
    ).chat


def _mode(document: msgspec.Raw | None) -> shares.Mode:
    return "continue" if document is None else "snapshot"


async def unshare(deps: Deps, principal: Principal, chat_id: str) -> bool:
    """Ends the sharing of one's chat."""
    async with change_chat(deps.database, principal, chat_id, "own", error=ChatRefused) as (unit, chat):
        await shares.delete(unit.connection, chat.alone())
        unit.after_commit(partial(deps.identifier.renew, ()))
    return True


async def unshare_all(deps: Deps, principal: Principal) -> bool:
    """Ends the sharing of all of one's chats."""
    async with deps.database.write() as unit:
        await shares.delete(unit.connection, await chats.lock_all(unit.connection, principal.id, "shared"))
        unit.after_commit(partial(deps.identifier.renew, ()))
    return True


async def shared(deps: Deps, principal: Principal | None, share_id: str) -> dict[str, Any]:
    """What a link shows to the one who opens it. Raises UnknownChat."""
    async with deps.database.read() as connection:
        found = await shares.get(connection, principal, share_id, admin_access=deps.settings.enable_admin_chat_access)
        if found is None:
            raise UnknownChat
        if found.mode == "snapshot":
            return _snapshot(found, principal)
        chat = await chats.own(connection, found.user_id, found.chat_id)
        if chat is None:
            raise UnknownChat
        may_write = principal is not None and await chats.get(connection, principal, chat.id, "write") is not None
    overlay = await deps.overlays(chat.id)
    async with deps.database.read() as connection:
        document = await chats.document(connection, for_reader(chat, principal), overlay=overlay)
    document["chat"]["share_mode"] = "continue" if may_write else None
    return document | {"id": found.id, "chat_id": chat.id, "tasks": None, "meta": {}}


def _snapshot(found: Share, principal: Principal | None) -> dict[str, Any]:
    document = found.chat or {}
    if principal is None or principal.id != found.user_id:
        document = {k: v for k, v in document.items() if k not in {"params", "system"}}
    return {
        "id": found.id,
        "user_id": found.user_id,
        "title": found.title,
        "chat": document | {"share_mode": None},
        "updated_at": found.updated_at,
        "created_at": found.created_at,
        "share_id": found.id,
        "archived": False,
        "pinned": False,
        "meta": {},
        "variables": {},
        "folder_id": None,
        "tasks": None,
        "summary": None,
        "current_message_id": None,
        "context_usage": None,
    }


async def clone_shared(deps: Deps, principal: Principal, share_id: str) -> Reply:
    """Copies what a link shows into a chat of one's own. The id of a chat that one may read will do too."""
    check_stores_chats(principal)
    admin = deps.settings.enable_admin_chat_access
    async with deps.database.read() as connection:
        found = await shares.get(connection, principal, share_id, admin_access=admin)
        chat_id = share_id if found is None else found.chat_id
        source = await chats.get(connection, principal, chat_id, admin_access=admin)
    if found is not None and found.mode == "snapshot":
        new = await _of_snapshot(principal, found)
        chat = await store_new(deps, principal, new, uses_of={"share_id": found.id})
        return await reply(deps, principal, chat)
    if source is None:
        raise UnknownChat
    return await copy(deps, principal, source, f"Clone of {source.title}"[: constants.MAX_TITLE], share_id)


async def _of_snapshot(principal: Principal, found: Share) -> chats.NewChat:
    document = _snapshot(found, principal)["chat"]
    history = document.get("history") or {}
    wire = history.get("messages") or {}
    current = history.get("currentId")
    return await chats.draft(
        principal.id,
        f"Clone of {found.title}"[: constants.MAX_TITLE],
        {**document, "originalChatId": found.id, "branchPointMessageId": current},
        await in_thread_if_large(len(wire), messages.fields_of, wire.values()),
        current,
    )


async def access(deps: Deps, principal: Principal, chat_id: str) -> list[Grant]:
    """The grants on one's chat. Raises NotFound."""
    async with deps.database.read() as connection:
        if await chats.own(connection, principal.id, chat_id) is None:
            raise NotFound
        return await shares.repository.grants_on(connection, chat_id)


async def set_access(deps: Deps, principal: Principal, chat_id: str, given: GrantsForm) -> Reply:
    """Puts grants in the place of those on one's chat. share_mode, where the form has it, changes how it is shared."""
    reshared = "share_mode" in given.model_fields_set
    document = await _document(deps, principal, chat_id, given.share_mode) if reshared else None
    async with change_chat(deps.database, principal, chat_id, "own") as (unit, held):
        await shares.repository.set_grants(unit.connection, principal, held.id, given.access_grants, strict=True)
        chat = await shares.put(unit.connection, held, _mode(document), document) if reshared else held
        tell_owner(deps, unit, chat, "chat:access", {})
        unit.after_commit(partial(deps.identifier.renew, ()))
    return await reply(deps, principal, chat)
