"""Answers that are being written: a row each, whose leftovers after a crash tell which messages were interrupted."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import now

t = tables.generation
# A row whose process has not written for this long belongs to a process that is gone.
STALE_SECONDS = 30


class Leftover(msgspec.Struct, frozen=True):
    task_id: str
    chat_id: str
    message_id: str


async def begin(connection: AsyncConnection, rows: Sequence[dict[str, str]], instance: str) -> None:
    """Notes that answers begin. Rows: task_id, chat_id, message_id, user_id."""
    at = now()
    await _begin.run_many(connection, [row | {"instance": instance, "beat_at": at} for row in rows])


async def beat(connection: AsyncConnection, instance: str) -> None:
    """Says that this process and its answers are alive."""
    await connection.execute(t.update().where(t.c.instance == instance).values(beat_at=now()))


_end = Prepared(t.delete().where(t.c.task_id == sa.bindparam("task")))
_begin = Prepared(t.insert(), [column.name for column in t.c])


async def end(connection: AsyncConnection, task_ids: Sequence[str]) -> None:
    await _end.run_many(connection, [{"task": task_id} for task_id in task_ids])


async def leftovers(connection: AsyncConnection, *, exclusive: bool) -> list[Leftover]:
    """What ended processes left. exclusive: no other process shares this database (SQLite), so every row is left over."""
    query = sa.select(t.c.task_id, t.c.chat_id, t.c.message_id)
    if not exclusive:
        query = query.where(t.c.beat_at < now() - STALE_SECONDS)
    return [Leftover(*row) for row in await connection.execute(query)]


async def running_messages(connection: AsyncConnection, chat_id: str) -> set[str]:
    """Ids of a chat's messages that are being written now, by any process."""
    return {row[0] for row in await _running.all(connection, {"chat": chat_id})}


_running = Prepared(sa.select(t.c.message_id).where(t.c.chat_id == sa.bindparam("chat")))
