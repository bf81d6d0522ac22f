"""Tags: names that people give their chats, and which chat has which."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import clean, inserting

t, t_link = tables.tag, tables.chat_tag


class Tag(msgspec.Struct, frozen=True):
    id: str
    name: str
    user_id: str
    meta: Any = None


def id_of(name: str) -> str:
    """The id of a tag's name: lower case, with _ for blanks."""
    return clean(name).strip().replace(" ", "_").lower()


_columns = (t.c.id, t.c.name, t.c.user_id, t.c.meta)
_of_chat = (
    sa.select(*_columns)
    .join(t_link, sa.and_(t_link.c.tag_id == t.c.id, t_link.c.user_id == t.c.user_id))
    .where(t_link.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.id)
)
_of_user = sa.select(*_columns).where(t.c.user_id == sa.bindparam("user")).order_by(t.c.id)


async def of_chat(connection: AsyncConnection, chat_id: str) -> list[Tag]:
    return [Tag(*row) for row in await connection.execute(_of_chat, {"chat": chat_id})]


async def of_user(connection: AsyncConnection, user_id: str) -> list[Tag]:
    return [Tag(*row) for row in await connection.execute(_of_user, {"user": user_id})]


async def add(connection: AsyncConnection, user_id: str, chat_ids: Iterable[str], names: Sequence[str]) -> None:
    """Gives chats of this user tags; those that they have already stay as they are."""
    named = {id_of(name): clean(name).strip() for name in names if id_of(name)}
    chats = list(chat_ids)
    if not named or not chats:
        return
    await connection.execute(
        inserting(connection, t).on_conflict_do_nothing(),
        [{"id": i, "name": name, "user_id": user_id, "meta": None} for i, name in named.items()],
    )
    await connection.execute(
        inserting(connection, t_link).on_conflict_do_nothing(),
        [{"chat_id": c, "tag_id": i, "user_id": user_id} for c in chats for i in named],
    )


async def link(connection: AsyncConnection, user_id: str, chat_id: str, tag_ids: Sequence[str]) -> None:
    """Gives a chat tags that its user has already."""
    if tag_ids:
        rows = [{"chat_id": chat_id, "tag_id": i, "user_id": user_id} for i in tag_ids]
        await connection.execute(t_link.insert(), rows)


async def remove(connection: AsyncConnection, user_id: str, chat_id: str, name: str) -> None:
    """Takes a tag from a chat."""
    await connection.execute(t_link.delete().where(t_link.c.chat_id == chat_id, t_link.c.tag_id == id_of(name)))
    await prune(connection, user_id)


async def prune(connection: AsyncConnection, user_id: str) -> None:
    """Removes the tags that no chat of this user has any more."""
    used = sa.exists().where(t_link.c.tag_id == t.c.id, t_link.c.user_id == t.c.user_id)
    await connection.execute(t.delete().where(t.c.user_id == user_id, sa.not_(used)))


async def of_chats(connection: AsyncConnection, chat_ids: Sequence[str]) -> dict[str, list[str]]:
    """The tag ids of several chats."""
    out: dict[str, list[str]] = {i: [] for i in chat_ids}
    rows = await connection.execute(
        sa.select(t_link.c.chat_id, t_link.c.tag_id).where(t_link.c.chat_id.in_(chat_ids)).order_by(t_link.c.tag_id)
    )
    for chat_id, tag_id in rows:
        out[chat_id].append(tag_id)
    return out
