"""How chats come to be: made by a page, cloned, forked."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from open_webui import constants
from open_webui.access.permissions import check_params, check_stores_chats
from open_webui.errors import BadRequest
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, file_uses, messages, tags
from open_webui.models.chat_rows import ChatRow, LockedChat
from open_webui.principal import Principal
from open_webui.schemas.chats import ChatBody, read_document
from open_webui.services import affect, staging
from open_webui.services.chats import (
    WHOLE,
    Reply,
    UnknownChat,
    find,
    for_reader,
    params_of,
    reply,
    tell_owner,
    variables_of,
)
from open_webui.services.deps import Deps
from open_webui.utils.threads import in_thread_if_large

NEW_TITLE: Final = "New Chat"


async def create(deps: Deps, principal: Principal, given: ChatBody) -> Reply:
    """Stores a new chat and answers with its document. Raises Forbidden for parameters that its owner may not set."""
    check_stores_chats(principal)
    document = await read_document(given.chat, creating=True)
    check_params(principal, params_of(document.body))
    variables = variables_of(given.variables)
    new = await chats.draft(
        principal.id,
        document.title or NEW_TITLE,
        document.body,
        document.fields or (),
        document.current_id,
        folder_id=given.folder_id,
        variables=variables or {},
    )
    chat = await store_new(deps, principal, new)
    if len(new.rows) > WHOLE:
        return await reply(deps, principal, chat)
    names = {principal.id: principal.name}
    async with deps.database.read() as connection:
        return await chats.document(connection, chat, rows=new.rows, tag_ids=(), names=names)


async def store_new(
    deps: Deps,
    principal: Principal,
    new: chats.NewChat,
    *,
    uses_of: Mapping[str, str] | None = None,
    tags_of: ChatRow | None = None,
) -> ChatRow:
    """Stores a new chat and tells the owner's lists.

    uses_of: what its messages were copied from, whose files they may use (file_uses.inherit). tags_of: a chat whose tags
    it gets, if it has the same owner.
    """

    async def finish(unit: UnitOfWork, made: Sequence[LockedChat]) -> None:
        if uses_of is not None:
            await file_uses.inherit(unit.connection, uses_of, new.rows)
        for chat in made:
            if tags_of is not None and tags_of.user_id == principal.id:
                await tags.copy(unit.connection, tags_of.id, chat)
            tell_owner(deps, unit, chat)

    return (await staging.store_new(deps.database, principal, [new], finish))[0]


async def clone(deps: Deps, principal: Principal, chat_id: str, title: str | None) -> Reply:
    """Copies one's chat, with all its branches and tags."""
    async with deps.database.read() as connection:
        source = await chats.own(connection, principal.id, chat_id)
    if source is None:
        raise UnknownChat
    return await copy(deps, principal, source, title or _titled("Clone of ", source.title))


async def copy(deps: Deps, principal: Principal, source: ChatRow, title: str, origin: str = "") -> Reply:
    """Makes a chat of the principal with all messages of the source, which says where it comes from.

    The principal may read the source. Messages that others add or change meanwhile are copied as they are when it is
    their turn. Raises UnknownChat where the source is removed meanwhile.
    """
    check_stores_chats(principal)
    await deps.store_running(source.id)
    noted = {"originalChatId": origin or source.id, "branchPointMessageId": source.current_message_id}
    new = await chats.draft(
        principal.id,
        title,
        {**for_reader(source, principal).body, **noted},
        (),
        None,
        current_message_id=source.current_message_id,
        next_position=source.next_position,
        meta=_carried(source),
    )

    async def finish(unit: UnitOfWork, made: Sequence[LockedChat]) -> None:
        if await chats.lock_for_server(unit.connection, source.id) is None:
            # Removed while it was copied: what there is of the copy may not be all.
            raise UnknownChat
        for chat in made:
            if source.user_id == principal.id and not origin:
                await tags.copy(unit.connection, source.id, chat)
            tell_owner(deps, unit, chat)

    chat = await staging.store_copy(deps.database, source, new, finish)
    return await reply(deps, principal, chat)


def _titled(before: str, title: str, after: str = "") -> str:
    return (before + title)[: constants.MAX_TITLE - len(after)] + after


async def fork(deps: Deps, principal: Principal, chat_id: str, message_id: str | None) -> Reply:
    """A new chat that begins with one branch of the source, up to a message (the current one by default)."""
    check_stores_chats(principal)
    source = await find(deps, principal, chat_id)
    point = message_id or source.current_message_id
    if point is None:
        raise BadRequest("This chat has no message to branch off from.")
    await deps.store_running(source.id)
    async with deps.database.read() as connection:
        rows, _ = await messages.branch(connection, source.id, point, 2**40)
    if not rows:
        raise UnknownChat
    fields = await in_thread_if_large(len(rows), lambda: messages.fields_of(row.wire([]) for row in rows))
    body = for_reader(source, principal).body
    new = await chats.draft(
        principal.id,
        _titled("", source.title, " (fork)"),
        {**body, "originalChatId": source.id, "branchPointMessageId": point},
        fields,
        point,
        meta=_carried(source) | {"forked_from": source.id, "forked_from_message_id": point},
    )
    chat = await store_new(deps, principal, new, uses_of={"chat_id": source.id}, tags_of=source)
    return await reply(deps, principal, chat)


def _carried(source: ChatRow) -> dict[str, Any]:
    """Of a chat's meta, what its copies get: its mood's settings, and that there may be tags."""
    tagged: dict[str, Any] = {"tags": []} if "tags" in source.meta else {}
    return affect.carried(source.meta) | tagged
