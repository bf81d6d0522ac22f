"""Answers that are being written: a row each, whose leftovers after a crash tell which messages were interrupted."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables

t = tables.generation
# A row whose process has not written for this long belongs to a process that is gone.
STALE_SECONDS = 30
# A message that changed within this time may be about to be answered.
FRESH_SECONDS = 600
# The database's clock: hosts that share it may disagree about the time.
_NOW = sa.cast(sa.extract("epoch", sa.func.now()), sa.BigInteger)


class Leftover(msgspec.Struct, frozen=True):
    task_id: str
    chat_id: str
    message_id: str


async def begin(connection: AsyncConnection, rows: Sequence[dict[str, str]], instance: str) -> None:
    """Notes that answers begin. Rows: task_id, chat_id, message_id, user_id."""
    given = [{f"b_{name}": value for name, value in row.items()} | {"b_instance": instance} for row in rows]
    await _begin.run_many(connection, given)


async def beat(connection: AsyncConnection, instance: str) -> None:
    """Says that this process and its answers are alive."""
    await connection.execute(t.update().where(t.c.instance == instance).values(beat_at=_NOW))


_end = Prepared(t.delete().where(t.c.task_id == sa.bindparam("task")))
_begin = Prepared(
    t.insert().values({c.name: sa.bindparam(f"b_{c.name}") for c in t.c if c is not t.c.beat_at} | {"beat_at": _NOW})
)


async def end(connection: AsyncConnection, task_ids: Sequence[str]) -> None:
    await _end.run_many(connection, [{"task": task_id} for task_id in task_ids])


def _left(*, exclusive: bool) -> "sa.ColumnElement[bool]":
    return sa.true() if exclusive else t.c.beat_at < _NOW - STALE_SECONDS


async def are_left(connection: AsyncConnection, *, exclusive: bool) -> bool:
    """Whether ended processes left anything. See `take_left`."""
    query = sa.select(t.c.task_id).where(_left(exclusive=exclusive)).limit(1)
    return await connection.scalar(query) is not None


async def take_left(connection: AsyncConnection, most: int, *, exclusive: bool) -> list[Leftover]:
    """Some of what ended processes left, which is the caller's until its unit of work is over.

    exclusive: no other process shares this database (SQLite), so every row is left over.
    """
    query = sa.select(t.c.task_id, t.c.chat_id, t.c.message_id).where(_left(exclusive=exclusive)).limit(most)
    return [Leftover(*row) for row in await connection.execute(query.with_for_update(skip_locked=True))]


def _unfinished(*, exclusive: bool) -> "sa.Select[Any]":
    m = tables.message
    written = sa.exists().where(t.c.chat_id == m.c.chat_id, t.c.message_id == m.c.id)
    query = sa.select(m.c.n, m.c.chat_id, m.c.id).where(sa.not_(m.c.done), m.c.role == "assistant", ~written)
    if not exclusive:
        query = query.where(m.c.updated_at < _NOW - FRESH_SECONDS)
    return query.order_by(m.c.n)


async def are_unfinished(connection: AsyncConnection, *, exclusive: bool) -> bool:
    """Whether there are answers that are not done and that no process writes. See `take_unfinished`."""
    return await connection.scalar(_unfinished(exclusive=exclusive).limit(1)) is not None


async def take_unfinished(connection: AsyncConnection, most: int, *, exclusive: bool) -> list[tuple[str, str]]:
    """Some answers that are not done and that no process writes, by chat and id: the caller's until its unit is over.

    Where other processes share the database, messages that changed a short while ago are left out: a page may have
    stored one and be about to have it answered.
    """
    query = _unfinished(exclusive=exclusive).limit(most)
    rows = await connection.execute(query.with_for_update(skip_locked=True, of=tables.message))
    return [(row[1], row[2]) for row in rows]


async def running_messages(connection: AsyncConnection, chat_id: str) -> set[str]:
    """Ids of a chat's messages that are being written now, by any process."""
    return {row[0] for row in await _running.all(connection, {"chat": chat_id})}


_running = Prepared(sa.select(t.c.message_id).where(t.c.chat_id == sa.bindparam("chat")))
