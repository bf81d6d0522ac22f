"""Folders: a tree of places for chats."""

from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import among
from open_webui.models.chat_rows import visible
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

t, chat, user, grant = tables.folder, tables.chat, tables.user, tables.access_grant
MAX_FOLDERS = 5_000


class Folder(msgspec.Struct, frozen=True):
    """A folder as the wire has it."""

    id: str
    parent_id: str | None
    user_id: str
    name: str
    items: Any
    meta: Any
    data: Any
    is_expanded: bool
    created_at: int
    updated_at: int


class FolderRow(msgspec.Struct, frozen=True):
    """A line of the list of folders."""

    id: str
    name: str
    meta: Any
    parent_id: str | None
    is_expanded: bool
    unread_count: int
    created_at: int
    updated_at: int


class SharedFolder(msgspec.Struct, frozen=True):
    """Somebody else's folder that one was let into."""

    id: str
    name: str
    meta: Any
    items: Any
    data: Any
    parent_id: str | None
    is_expanded: bool
    user_id: str
    owner_name: str
    permission: Literal["read", "write"]
    created_at: int
    updated_at: int


class ChatInFolder(msgspec.Struct, frozen=True):
    """A chat of a folder, with whose it is."""

    id: str
    title: str
    user_id: str
    updated_at: int
    created_at: int
    last_read_at: int | None
    owner_name: str
    folder_id: str


repository: Final = Resource("folder", t, Folder, sharing=Sharing(people="sharing.folders", public="sharing.folders"))
unread = sa.and_(visible, sa.not_(chat.c.archived), sa.func.coalesce(chat.c.last_read_at, 0) < chat.c.updated_at)
_unread_count = (
    sa.select(sa.func.count())
    .select_from(chat)
    .where(chat.c.folder_id == t.c.id, chat.c.user_id == t.c.user_id, unread)
    .correlate(t)
    .scalar_subquery()
)


async def hold(connection: AsyncConnection, principal: Principal, folder_id: str) -> bool:
    """Whether the principal may put chats into a folder, which then stays until this transaction is over."""
    wanted = sa.select(t.c.id).where(t.c.id == folder_id, repository.writable_by(principal))
    held = wanted.with_for_update(read=True, key_share=True, of=t)
    return (await connection.execute(held)).first() is not None


async def hold_all(connection: AsyncConnection, folder_ids: Collection[str]) -> None:
    """Holds folders that are about to go: who is putting a chat into one of them comes before that, or finds none."""
    wanted = sa.select(t.c.id).where(among(t.c.id, folder_ids)).order_by(t.c.id)
    await connection.execute(wanted.with_for_update())


async def of_user(connection: AsyncConnection, user_id: str) -> list[FolderRow]:
    """One's folders with their numbers of unread chats."""
    rows = await connection.execute(
        sa.select(
            t.c.id, t.c.name, t.c.meta, t.c.parent_id, t.c.is_expanded, _unread_count, t.c.created_at, t.c.updated_at
        )
        .where(t.c.user_id == user_id)
        .order_by(t.c.created_at, t.c.id)
        .limit(MAX_FOLDERS)
    )
    return [FolderRow(*row) for row in rows]


async def unread_counts(connection: AsyncConnection, user_id: str) -> dict[str, int]:
    """The number of unread chats of each folder."""
    rows = await connection.execute(sa.select(t.c.id, _unread_count).where(t.c.user_id == user_id).limit(MAX_FOLDERS))
    return {row[0]: row[1] for row in rows}


async def parents(connection: AsyncConnection, user_id: str) -> dict[str, str | None]:
    """The parent of each folder of a user."""
    rows = await connection.execute(sa.select(t.c.id, t.c.parent_id).where(t.c.user_id == user_id))
    return {row[0]: row[1] for row in rows}


async def name_taken(
    connection: AsyncConnection, user_id: str, parent_id: str | None, name: str, but: str | None = None
) -> bool:
    """Whether another folder beside it has this name, in any case."""
    place = t.c.parent_id.is_(None) if parent_id is None else t.c.parent_id == parent_id
    names = await connection.execute(sa.select(t.c.id, t.c.name).where(t.c.user_id == user_id, place))
    return any(i != but and str(other).casefold() == name.casefold() for i, other in names)


_any_grant = Prepared(sa.select(grant.c.resource_id).where(grant.c.resource_type == sa.bindparam("kind")).limit(1))


async def shared_with(connection: AsyncConnection, principal: Principal) -> list[SharedFolder]:
    """Folders of other people that a grant lets the principal into. Where nobody shares one, that is cheap to know."""
    if await _any_grant.first(connection, {"kind": "folder"}) is None:
        return []
    may_write = repository.granted(principal, "write")
    rows: Any = await connection.execute(
        sa.select(
            t.c.id,
            t.c.name,
            t.c.meta,
            t.c["items"],
            t.c.data,
            t.c.parent_id,
            t.c.is_expanded,
            t.c.user_id,
            user.c.name,
            sa.case((may_write, "write"), else_="read"),
            t.c.created_at,
            t.c.updated_at,
        )
        .join(user, user.c.id == t.c.user_id)
        .where(t.c.user_id != principal.id, repository.granted(principal, "read"))
        .order_by(t.c.created_at, t.c.id)
        .limit(MAX_FOLDERS)
    )
    return [_to_show(SharedFolder(*row)) for row in rows]


def _to_show(folder: SharedFolder) -> SharedFolder:
    data = for_reader(folder.data, may_write=folder.permission == "write")
    return msgspec.structs.replace(folder, data=data)


def for_reader(data: Any, *, may_write: bool) -> Any:
    """A folder's settings for somebody else: its prompt is for those who may change it."""
    if may_write or not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if name != "system_prompt"}


async def chats_in(
    connection: AsyncConnection, folder_id: str, limit: int, offset: int, sort_by: str, descending: bool
) -> tuple[list[ChatInFolder], int]:
    """A page of the chats in a folder, whosever they are, and how many there are. The caller has checked the folder."""
    inside = sa.and_(visible, chat.c.folder_id == folder_id, sa.not_(chat.c.archived))
    rows = await connection.execute(
        sa.select(
            chat.c.id,
            chat.c.title,
            chat.c.user_id,
            chat.c.updated_at,
            chat.c.created_at,
            chat.c.last_read_at,
            user.c.name,
            chat.c.folder_id,
        )
        .join(user, user.c.id == chat.c.user_id)
        .where(inside)
        .order_by(*order(sort_by, descending))
        .limit(limit)
        .offset(offset)
    )
    total = await connection.scalar(sa.select(sa.func.count()).select_from(chat).where(inside))
    return [ChatInFolder(*row) for row in rows], int(total or 0)


def order(sort_by: str | None, descending: bool) -> "tuple[sa.ColumnElement[Any], ...]":
    """The order of a list of chats by one of the fields that pages sort by; unknown ones mean updated_at."""
    column: sa.ColumnElement[Any] = {"title": chat.c.title, "created_at": chat.c.created_at}.get(
        sort_by or "", chat.c.updated_at
    )
    ends = (column.desc(), chat.c.id.desc()) if descending else (column.asc(), chat.c.id.asc())
    if sort_by == "unread_updated_at":
        return sa.case((unread, 0), else_=1), *ends
    return ends
