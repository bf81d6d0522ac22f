"""Shared chats: the link under which others see a chat, as it was (snapshot) or as it is (continue)."""

from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import file_uses, grants, tables
from open_webui.models.base import new_id, now
from open_webui.models.chat_rows import LockedChat, LockedChats
from open_webui.models.repository import contains
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

t, chat = tables.shared_chat, tables.chat
Mode = Literal["snapshot", "continue"]
PAGE = 60


class Share(msgspec.Struct, frozen=True):
    """chat: the document's inner object of a snapshot, None for a live one."""

    id: str
    chat_id: str
    user_id: str
    title: str
    mode: Mode
    chat: dict[str, Any] | None
    created_at: int
    updated_at: int


class SharedRow(msgspec.Struct, frozen=True):
    """A line of the list of one's shared chats."""

    id: str
    chat_id: str
    title: str
    share_id: str
    updated_at: int
    created_at: int


class _Shares(Resource[Share]):
    """Grants are on the chat, so that they stay when its link is made anew, and may be there before it."""

    async def clear_of(self, connection: AsyncConnection, user_id: str) -> None:
        await grants.clear_where(connection, self.name, sa.select(chat.c.id).where(chat.c.user_id == user_id))


repository: Final = _Shares(
    "shared_chat",
    t,
    Share,
    sharing=Sharing(people="chat.share", public="sharing.public_chats", anyone="sharing.open_chats"),
    granted_on="chat_id",
    searches=("title",),
    sorts=("title", "created_at", "updated_at"),
)


async def get(
    connection: AsyncConnection, principal: Principal | None, share_id: str, *, admin_access: bool = False
) -> Share | None:
    """A share by the id in its link, if the principal (None: somebody without an account) may open it.

    admin_access: admins may open all (settings.enable_admin_chat_access).
    """
    found = await repository.get_for(connection, principal, share_id)
    if found is None and admin_access and principal is not None and principal.is_admin:
        found = await repository.get(connection, share_id)
        if found is not None:
            acts.opened("shared_chat", share_id, found.user_id)
    return found


async def put(connection: AsyncConnection, held: LockedChat, mode: Mode, document: msgspec.Raw | None) -> LockedChat:
    """Shares a chat, or brings its share up to date: the id in its link stays the same. Gives the chat as it is now.

    document: for a snapshot, what Share.chat says, as JSON.
    """
    at = now()
    values = {"title": held.title, "mode": mode, "chat": document, "updated_at": at}
    share_id = await connection.scalar(t.update().where(t.c.chat_id == held.id).values(values).returning(t.c.id))
    if share_id is None:
        share_id = new_id()
        await connection.execute(
            t.insert().values(id=share_id, chat_id=held.id, user_id=held.user_id, created_at=at, **values)
        )
        await connection.execute(chat.update().where(chat.c.n == held.n).values(share_id=share_id))
    await file_uses.share(connection, str(share_id), None if document is None else held.id)
    return msgspec.structs.replace(held, share_id=str(share_id))


async def delete(connection: AsyncConnection, held: LockedChats) -> None:
    """Ends the shares of chats, with the grants on them."""
    for part in grants.in_parts(held.ids):
        await connection.execute(t.delete().where(t.c.chat_id.in_(part)))
        await grants.clear(connection, repository.name, part)
        await connection.execute(chat.update().where(chat.c.id.in_(part)).values(share_id=None))


async def of_user(
    connection: AsyncConnection, user_id: str, page: int, query: str | None, order_by: str | None, descending: bool
) -> list[SharedRow]:
    """A page of one's shared chats."""
    column = {"title": t.c.title, "created_at": t.c.created_at}.get(order_by or "", t.c.updated_at)
    statement = (
        sa.select(t.c.chat_id, t.c.chat_id, chat.c.title, t.c.id, t.c.updated_at, t.c.created_at)
        .join(chat, chat.c.id == t.c.chat_id)
        .where(t.c.user_id == user_id)
        .order_by(column.desc() if descending else column.asc(), t.c.id)
        .limit(PAGE)
        .offset((page - 1) * PAGE)
    )
    if query:
        statement = statement.where(contains([chat.c.title], query))
    return [SharedRow(*row) for row in await connection.execute(statement)]
