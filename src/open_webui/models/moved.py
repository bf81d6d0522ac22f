"""Rows that come from another server: whether they are here, and stored with the ids and times that they had there."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, inserting
from open_webui.models.chat_rows import visible

_KINDS: Final[Mapping[str, sa.Table]] = {
    table.name: table
    for table in (
        tables.user,
        tables.group,
        tables.folder,
        tables.file,
        tables.knowledge,
        tables.knowledge_directory,
        tables.knowledge_file,
        tables.model,
        tables.tool,
        tables.function,
        tables.skill,
        tables.prompt,
        tables.chat,
        tables.memory,
        tables.feedback,
        tables.shared_chat,
        tables.version,
        tables.note,
        tables.pinned_note,
        tables.calendar,
        tables.calendar_event,
        tables.calendar_event_attendee,
        tables.automation,
        tables.automation_run,
        tables.channel,
        tables.channel_member,
        tables.channel_message,
        tables.channel_webhook,
    )
}


async def owners(connection: AsyncConnection, kind: str, ids: Collection[str]) -> dict[str, str | None]:
    """Those of the ids that a table has, and whose each is. A person is their own. kind: the table's name.

    Chats that are hidden don't count.
    """
    table = _KINDS[kind]
    owner = table.c.id if table is tables.user else table.c.user_id
    found = sa.select(table.c.id, owner).where(among(table.c.id, ids))
    if table is tables.chat:
        found = found.where(visible)
    return {row[0]: row[1] for row in await connection.execute(found)}


async def taken(connection: AsyncConnection, kind: str, ids: Collection[str]) -> set[str]:
    """Those of the ids that a table has."""
    table = _KINDS[kind]
    return set(await connection.scalars(sa.select(table.c.id).where(among(table.c.id, ids))))


async def stored_keys(connection: AsyncConnection, keys: Collection[str]) -> set[str]:
    """Those of some settings that an administrator of this server has set."""
    return set(await connection.scalars(sa.select(tables.config.c.key).where(among(tables.config.c.key, keys))))


async def hidden(connection: AsyncConnection, ids: Collection[str]) -> list[str]:
    """Those of the chats that are hidden: an import, or a removal, has ended in the middle of them."""
    t = tables.chat
    return list(await connection.scalars(sa.select(t.c.id).where(among(t.c.id, ids), sa.not_(visible))))


async def insert(connection: AsyncConnection, kind: str, values: Mapping[str, Any]) -> bool:
    """Stores a row. False where one with the same id, or another value that only one may have, is there."""
    statement = inserting(connection, _KINDS[kind]).values(dict(values)).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


async def insert_all(connection: AsyncConnection, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores rows that belong to one which was just stored. Those that are there stay as they are."""
    if rows:
        await connection.execute(
            inserting(connection, _KINDS[kind]).on_conflict_do_nothing(), [dict(row) for row in rows]
        )
