"""Sharing: links to chats, and grants that people ask for, checked against what they may give."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, folders, grants, messages, shares
from open_webui.models.chats import ChatRow
from open_webui.models.folders import Folder
from open_webui.models.grants import Grant
from open_webui.models.shares import Share
from open_webui.principal import Principal
from open_webui.schemas.chats import GrantsForm
from open_webui.services.chats import Gone, House, Refused, Reply, copied, for_reader, news, owned, reply
from open_webui.utils.aside import aside

_KINDS: Final = frozenset({"user", "group", "anyone"})
REFUSED: Final = "You may not share with these people. An administrator of this server can allow it."


def checked(
    principal: Principal, given: Sequence[Mapping[str, Any]], *, public: str | None, anyone: str | None
) -> list[tuple[str, str, str]]:
    """Grants as (principal type, principal id, permission), if the principal may give every one of them.

    public, anyone: the permissions needed to share with all who have an account, and with people without one; None
    where a thing can't be shared so. Raises BadRequest for what is no grant, Forbidden (403) for one too many.
    """
    out = [_grant(grant) for grant in given]
    for kind, who, _ in out:
        if kind == "anyone":
            needed = anyone
        elif who == "*":
            needed = public
        else:
            needed = "access_grants.allow_groups" if kind == "group" else "access_grants.allow_users"
        if needed is None or not principal.may(needed):
            raise Forbidden(REFUSED, status=403)
    return out


def _grant(grant: Mapping[str, Any]) -> tuple[str, str, str]:
    kind, who, permission = (grant.get(k) for k in ("principal_type", "principal_id", "permission"))
    if kind not in _KINDS or permission not in {"read", "write"}:
        raise BadRequest("A grant names a user, a group or anyone, and whether they may read or write.")
    if not isinstance(who, str) or not 0 < len(who) <= constants.MAX_ID or "\x00" in who:
        raise BadRequest("A grant names whom it is for.")
    if who == "*" and kind == "group":
        raise BadRequest("A grant for a group names the group.")
    if kind == "anyone" and (who != "*" or permission != "read"):
        raise BadRequest("People without an account can only be allowed to read.")
    return kind, who, permission


async def share(house: House, principal: Principal, chat_id: str, mode: str | None) -> Reply:
    """Makes a link to one's chat, or brings it up to date: to the chat as it is now, or (mode "continue") to the chat."""
    async with house.database.write() as unit:
        chat = await owned(unit, principal, chat_id, Refused)
        chat = await _share(unit, chat, mode)
    return await reply(house, principal, chat)


async def _share(unit: UnitOfWork, chat: ChatRow, mode: str | None) -> ChatRow:
    document = None
    if mode != "continue":
        document = (await chats.document(unit.connection, chat))["chat"]
    kind: shares.Mode = "continue" if mode == "continue" else "snapshot"
    share_id = await shares.put(unit.connection, chat.id, chat.user_id, chat.title, kind, document)
    chat.share_id = share_id
    return chat


async def unshare(house: House, principal: Principal, chat_id: str) -> bool:
    """Ends the sharing of one's chat."""
    async with house.database.write() as unit:
        chat = await owned(unit, principal, chat_id, Refused)
        await shares.delete(unit.connection, principal.id, chat.id)
        await grants.clear(unit.connection, shares.RESOURCE, [chat.id])
    return True


async def shared(house: House, principal: Principal | None, share_id: str) -> dict[str, Any]:
    """What a link shows to the one who opens it. Raises Gone."""
    async with house.database.read() as connection:
        found = await shares.get(connection, principal, share_id, admin_access=house.settings.enable_admin_chat_access)
        if found is None:
            raise Gone
        if found.mode == "snapshot":
            return _snapshot(found, principal)
        chat = await chats.own(connection, found.user_id, found.chat_id)
        if chat is None:
            raise Gone
        document = await chats.document(connection, for_reader(chat, principal), overlay=house.overlays(chat.id))
        may_write = principal is not None and await chats.get(connection, principal, chat.id, "write") is not None
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


async def clone_shared(house: House, principal: Principal, share_id: str) -> Reply:
    """Copies what a link shows into a chat of one's own. The id of a chat that one may read will do too."""
    admin = house.settings.enable_admin_chat_access
    async with house.database.write() as unit:
        found = await shares.get(unit.connection, principal, share_id, admin_access=admin)
        if found is not None and found.mode == "snapshot":
            chat = await _from_snapshot(unit, principal, found)
        else:
            chat_id = share_id if found is None else found.chat_id
            source = await chats.get(unit.connection, principal, chat_id, admin_access=admin)
            if source is None:
                raise Gone
            body = for_reader(source, principal).body
            chat = await copied(
                unit, principal, source, f"Clone of {source.title}"[: constants.MAX_TITLE], body, share_id
            )
        news(house, unit, chat)
    return await reply(house, principal, chat)


async def _from_snapshot(unit: UnitOfWork, principal: Principal, found: Share) -> ChatRow:
    document = _snapshot(found, principal)["chat"]
    history = document.get("history") or {}
    wire = history.get("messages") or {}
    current = history.get("currentId")
    chat, _ = await chats.create_from(
        unit.connection,
        principal.id,
        f"Clone of {found.title}"[: constants.MAX_TITLE],
        {**document, "originalChatId": found.id, "branchPointMessageId": current},
        await aside(len(wire), messages.fields_of, wire.values()),
        current,
    )
    return chat


async def access(house: House, principal: Principal, chat_id: str) -> list[Grant]:
    """The grants on one's chat. Raises NotFound."""
    async with house.database.read() as connection:
        if await chats.own(connection, principal.id, chat_id) is None:
            raise NotFound
        return await grants.of(connection, shares.RESOURCE, chat_id)


async def set_access(house: House, principal: Principal, chat_id: str, given: GrantsForm) -> Reply:
    """Puts grants in the place of those on one's chat. share_mode, where the form has it, changes how it is shared."""
    wanted = checked(principal, given.access_grants, public="sharing.public_chats", anyone="sharing.open_chats")
    async with house.database.write() as unit:
        chat = await owned(unit, principal, chat_id, NotFound)
        await grants.replace(unit.connection, shares.RESOURCE, chat.id, wanted)
        if "share_mode" in given.model_fields_set:
            chat = await _share(unit, chat, given.share_mode)
        news(house, unit, chat, "chat:access", {})
    return await reply(house, principal, chat)


async def set_folder_access(
    house: House, principal: Principal, folder_id: str, given: GrantsForm
) -> tuple[Folder, list[Grant]]:
    """Puts grants in the place of those on one's folder."""
    wanted = checked(principal, given.access_grants, public="sharing.folders", anyone=None)
    if wanted and not principal.may("sharing.folders"):
        raise Forbidden(REFUSED, status=403)
    async with house.database.write() as unit:
        folder = await folders.own(unit.connection, principal.id, folder_id)
        if folder is None:
            raise NotFound
        await grants.replace(unit.connection, folders.RESOURCE, folder.id, wanted)
        return folder, await grants.of(unit.connection, folders.RESOURCE, folder.id)
