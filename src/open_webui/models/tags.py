"""Tags: names that people give their chats, and which chat has which."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, clean, inserting
from open_webui.models.chat_rows import LockedChat

t, t_link, t_chat = tables.tag, tables.chat_tag, tables.chat


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
_names_of_chat = _of_chat.with_only_columns(t.c.name)
_of_user = sa.select(*_columns).where(t.c.user_id == sa.bindparam("user")).order_by(t.c.id)


async def of_chat(connection: AsyncConnection, chat_id: str) -> list[Tag]:
    return [Tag(*row) for row in await connection.execute(_of_chat, {"chat": chat_id})]


async def of_user(connection: AsyncConnection, user_id: str) -> list[Tag]:
    return [Tag(*row) for row in await connection.execute(_of_user, {"user": user_id})]


async def add(connection: AsyncConnection, chat: LockedChat, names: Iterable[str]) -> None:
    """Gives a chat tags of its owner, which are made if there are none of that name; those that it has stay."""
    listed = list(names)
    await make(connection, chat.user_id, listed)
    await link(connection, chat, listed)


async def make(connection: AsyncConnection, user_id: str, names: Iterable[str]) -> None:
    """Makes those of the tags of a person that are not there."""
    named = {id_of(name): clean(name).strip() for name in names if id_of(name)}
    if not named:
        return
    # Also a tag that is there is taken, unchanged: who removes unused tags (`prune`) waits, and then sees the link.
    statement = inserting(connection, t)
    statement = statement.on_conflict_do_update(index_elements=[t.c.id, t.c.user_id], set_={"name": t.c.name})
    await connection.execute(
        statement,
        [{"id": i, "name": name, "user_id": user_id, "meta": None} for i, name in sorted(named.items())],
    )


async def link(connection: AsyncConnection, chat: LockedChat, names: Iterable[str]) -> None:
    """Notes that a chat has tags. They show once they are made."""
    ids = dict.fromkeys(id_of(name) for name in names if id_of(name))
    if ids:
        await connection.execute(
            inserting(connection, t_link).on_conflict_do_nothing(),
            [{"chat_id": chat.id, "tag_id": i, "user_id": chat.user_id} for i in ids],
        )
        await _note_tagged(connection, chat)


async def _note_tagged(connection: AsyncConnection, chat: LockedChat) -> None:
    """Notes in a chat that it has had tags: with the last one gone, it shows an empty list of them, as the wire has it."""
    if "tags" not in chat.meta:
        chat.meta = chat.meta | {"tags": []}
        await connection.execute(t_chat.update().where(t_chat.c.id == chat.id).values(meta=chat.meta))


async def replace(connection: AsyncConnection, chat: LockedChat, names: Iterable[str]) -> None:
    """Gives a chat exactly these tags."""
    await connection.execute(t_link.delete().where(t_link.c.chat_id == chat.id))
    await add(connection, chat, names)
    await prune(connection, chat.user_id)


async def copy(connection: AsyncConnection, source_id: str, chat: LockedChat) -> None:
    """Gives a chat the tags of another one of the same owner."""
    names = await connection.scalars(_names_of_chat, {"chat": source_id})
    await add(connection, chat, names)


async def remove(connection: AsyncConnection, chat: LockedChat, name: str) -> None:
    """Takes a tag from a chat."""
    await connection.execute(t_link.delete().where(t_link.c.chat_id == chat.id, t_link.c.tag_id == id_of(name)))
    await prune(connection, chat.user_id)


async def prune(connection: AsyncConnection, user_id: str) -> None:
    """Removes the tags that no chat of this user has any more.

    They are taken first and looked at again then: another unit may just have given one of them to a chat.
    """
    unused = sa.not_(sa.exists().where(t_link.c.tag_id == t.c.id, t_link.c.user_id == t.c.user_id))
    found = sa.select(t.c.id).where(t.c.user_id == user_id, unused).order_by(t.c.id).with_for_update(of=t)
    ids = list(await connection.scalars(found))
    if ids:
        await connection.execute(t.delete().where(t.c.user_id == user_id, among(t.c.id, ids), unused))


async def of_chats(connection: AsyncConnection, chat_ids: Sequence[str]) -> dict[str, list[str]]:
    """The tag ids of several chats."""
    out: dict[str, list[str]] = {i: [] for i in chat_ids}
    rows = await connection.execute(
        sa.select(t_link.c.chat_id, t_link.c.tag_id).where(among(t_link.c.chat_id, chat_ids)).order_by(t_link.c.tag_id)
    )
    for chat_id, tag_id in rows:
        out[chat_id].append(tag_id)
    return out
