"""Lists of chats: rows of a sidebar, an archive or a folder, without their documents."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.models import folders, tables
from open_webui.models.base import clean
from open_webui.models.chat_rows import visible

t, link, beside = tables.chat, tables.chat_tag, tables.note_chat
PAGE = constants.CHATS_PER_PAGE
# What a list without pages may hold; pages ask for pages.
MAX_ROWS = 10_000
Kind = Literal["active", "archived", "pinned", "folder", "all"]


class ListRow(msgspec.Struct):
    """A line of a list. active: a model is answering there now."""

    id: str
    title: str
    updated_at: int
    created_at: int
    last_read_at: int | None
    snippet: str | None
    active: bool
    archived: bool


columns = (t.c.id, t.c.title, t.c.updated_at, t.c.created_at, t.c.last_read_at, t.c.archived)


class Wanted(msgspec.Struct, frozen=True):
    """Which list. sort_by: updated_at, created_at, title or unread_updated_at; anything else means updated_at."""

    kind: Kind = "active"
    include_pinned: bool = False
    include_folders: bool = False
    sort_by: str = "updated_at"
    descending: bool = True


def lines(rows: Sequence[Any], active: Collection[str]) -> list[ListRow]:
    """List rows of database rows that begin with `columns`."""
    return [
        ListRow(r[0], r[1] if isinstance(r[1], str) else "", r[2], r[3], r[4], None, r[0] in active, bool(r[5]))
        for r in rows
    ]


@cache
def _statement(wanted: Wanted, searched: bool) -> "sa.Select[Any]":
    where: list[sa.ColumnElement[bool]] = [t.c.user_id == sa.bindparam("user"), visible]
    if wanted.kind in {"active", "archived", "pinned"}:
        # A chat beside a note is shown there.
        where.append(sa.not_(sa.exists().where(beside.c.chat_id == t.c.id)))
    if wanted.kind != "all":
        where.append(t.c.archived == (wanted.kind == "archived"))
    if wanted.kind == "pinned":
        where.append(t.c.pinned)
    if wanted.kind == "folder":
        where.append(t.c.folder_id == sa.bindparam("folder"))
    if wanted.kind == "active":
        if not wanted.include_pinned:
            where.append(sa.not_(t.c.pinned))
        if not wanted.include_folders:
            where.append(t.c.folder_id.is_(None))
    if searched:
        where.append(sa.func.lower(t.c.title).contains(sa.bindparam("query"), autoescape=False))
    return (
        sa.select(*columns)
        .where(*where)
        .order_by(*folders.order(wanted.sort_by, wanted.descending))
        .limit(sa.bindparam("limit"))
        .offset(sa.bindparam("offset"))
    )


_SORTS = frozenset({"updated_at", "created_at", "title", "unread_updated_at"})


async def rows(
    connection: AsyncConnection,
    user_id: str,
    wanted: Wanted,
    *,
    active: Collection[str] = (),
    page: int | None = None,
    size: int = PAGE,
    query: str | None = None,
    folder_id: str | None = None,
) -> list[ListRow]:
    """A page of one of a user's lists, or (page None) all of it up to MAX_ROWS."""
    if wanted.sort_by not in _SORTS:
        wanted = msgspec.structs.replace(wanted, sort_by="updated_at")
    given: dict[str, Any] = {
        "user": user_id,
        "limit": MAX_ROWS if page is None else size,
        "offset": 0 if page is None else (page - 1) * size,
    }
    if query:
        given["query"] = clean(query).lower()
    if wanted.kind == "folder":
        given["folder"] = folder_id
    found = await connection.execute(_statement(wanted, bool(query)), given)
    return lines(found.all(), active)


async def tagged(
    connection: AsyncConnection, user_id: str, tag_id: str, skip: int, limit: int, active: Collection[str]
) -> list[ListRow]:
    """One's chats with a tag, newest first."""
    found = await connection.execute(
        sa.select(*columns)
        .join(link, link.c.chat_id == t.c.id)
        .where(link.c.user_id == user_id, link.c.tag_id == tag_id, t.c.user_id == user_id, visible)
        .order_by(t.c.updated_at.desc(), t.c.id.desc())
        .limit(limit)
        .offset(skip)
    )
    return lines(found.all(), active)


async def count_archived(connection: AsyncConnection, user_id: str) -> int:
    count = sa.select(sa.func.count()).select_from(t).where(t.c.user_id == user_id, t.c.archived, visible)
    return int(await connection.scalar(count) or 0)


async def numbers(
    connection: AsyncConnection,
    user_id: str | None,
    *,
    archived: bool | None = None,
    folder_id: str | None = None,
    since: int | None = None,
    oldest_first: bool = False,
) -> list[int]:
    """The numbers of one's chats (None: everybody's, for an admin's export), newest first. since: changed after it."""
    statement = sa.select(t.c.n).where(visible)
    if user_id is not None:
        statement = statement.where(t.c.user_id == user_id)
    if archived is not None:
        statement = statement.where(t.c.archived == archived)
    if folder_id is not None:
        statement = statement.where(t.c.folder_id == folder_id)
    if since is not None:
        statement = statement.where(t.c.updated_at > since)
    order = (t.c.updated_at.asc(), t.c.n) if oldest_first else (t.c.updated_at.desc(), t.c.n.desc())
    return list(await connection.scalars(statement.order_by(*order)))
