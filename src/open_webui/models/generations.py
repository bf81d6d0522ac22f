"""Answers that are being written: a row each, whose leftovers after a crash tell which messages were interrupted."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import processes, tables
from open_webui.models.base import among

t = tables.generation
# A message that changed within this time may be about to be answered.
FRESH_SECONDS = 600


class Leftover(msgspec.Struct, frozen=True):
    """A running answer, in a chat of owner_id, that user_id asked for."""

    task_id: str
    chat_id: str
    message_id: str
    user_id: str
    owner_id: str


class Running(msgspec.Struct, frozen=True):
    """An answer that is being written. instance: by which process."""

    task_id: str
    message_id: str
    user_id: str
    instance: str


async def begin(connection: AsyncConnection, rows: Sequence[dict[str, str]], instance: str) -> None:
    """Notes that answers begin. Rows: task_id, chat_id, message_id, user_id."""
    given = [{f"b_{name}": value for name, value in row.items()} | {"b_instance": instance} for row in rows]
    await _begin.run_many(connection, given)


_end = Prepared(t.delete().where(t.c.task_id == sa.bindparam("task")))
_begin = Prepared(t.insert().values({c.name: sa.bindparam(f"b_{c.name}") for c in t.c}))
_count = Prepared(sa.select(sa.func.count()).select_from(t).where(t.c.user_id == sa.bindparam("user")))
_hold = Prepared(
    sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("user", type_=sa.Text), 0)))
)
_of_instance = Prepared(sa.select(t.c.task_id).where(t.c.instance == sa.bindparam("instance")))


_leftover = sa.select(t.c.task_id, t.c.chat_id, t.c.message_id, t.c.user_id, tables.chat.c.user_id).join(tables.chat)
_of_chat = Prepared(
    sa.select(t.c.task_id, t.c.message_id, t.c.user_id, t.c.instance).where(t.c.chat_id == sa.bindparam("chat"))
)


def is_begun(error: sa.exc.IntegrityError) -> bool:
    """Whether this says that an answer is being written into the message already."""
    text = str(error.orig)
    return "generation" in text and "message_id" in text


async def held_count(connection: AsyncConnection, user_id: str) -> int:
    """How many answers of a person are being written, by any process; nobody else counts until the unit of work is over.

    For PostgreSQL: one process knows its own.
    """
    await _hold.run(connection, {"user": user_id})
    row = await _count.first(connection, {"user": user_id})
    return int(row[0]) if row else 0


async def end(connection: AsyncConnection, task_ids: Sequence[str]) -> None:
    await _end.run_many(connection, [{"task": task_id} for task_id in task_ids])


async def end_held(connection: AsyncConnection, task_ids: Sequence[str]) -> set[str]:
    """The same, and tells which were there; of the others another process has taken care."""
    rows = await connection.execute(t.delete().where(among(t.c.task_id, task_ids)).returning(t.c.task_id))
    return {row[0] for row in rows}


async def of_instance(connection: AsyncConnection, instance: str) -> set[str]:
    """The answers that a process writes, by their tasks."""
    return {row[0] for row in await _of_instance.all(connection, {"instance": instance})}


async def of_chat(connection: AsyncConnection, chat_id: str) -> list[Running]:
    """The answers that are being written in a chat, by any process."""
    return [Running(*row) for row in await _of_chat.all(connection, {"chat": chat_id})]


async def owner(connection: AsyncConnection, task_id: str) -> str | None:
    """The process that writes an answer, if one does."""
    instance: str | None = await connection.scalar(sa.select(t.c.instance).where(t.c.task_id == task_id))
    return instance


async def besides(connection: AsyncConnection, instance: str) -> list[str]:
    """The answers that other processes write, by their tasks."""
    return list(await connection.scalars(sa.select(t.c.task_id).where(t.c.instance != instance)))


def _left(judge: str | None) -> "sa.ColumnElement[bool]":
    if judge is None:
        return sa.true()
    return sa.not_(processes.is_alive(t.c.instance)) & processes.may_judge(judge)


async def are_left(connection: AsyncConnection, judge: str | None) -> bool:
    """Whether ended processes left anything. See `take_left`."""
    return await connection.scalar(sa.select(t.c.task_id).where(_left(judge)).limit(1)) is not None


async def take_left(connection: AsyncConnection, most: int, judge: str | None) -> list[Leftover]:
    """Some of what ended processes left, which is the caller's until its unit of work is over.

    judge: the process that asks, which has to know that the others could have beaten (processes.may_judge). None: no
    other process shares this database (SQLite), so every row is left over.
    """
    query = _leftover.where(_left(judge)).limit(most)
    return [Leftover(*row) for row in await connection.execute(query.with_for_update(skip_locked=True, of=t))]


async def take(connection: AsyncConnection, task_ids: Sequence[str]) -> list[Leftover]:
    """Some answers, which are the caller's until its unit of work is over."""
    query = _leftover.where(among(t.c.task_id, task_ids)).order_by(t.c.task_id)
    return [Leftover(*row) for row in await connection.execute(query.with_for_update(of=t))]


def _unfinished(judge: str | None) -> "sa.Select[Any]":
    m = tables.message
    written = sa.exists().where(t.c.chat_id == m.c.chat_id, t.c.message_id == m.c.id)
    query = sa.select(m.c.n, m.c.chat_id, m.c.id).where(sa.not_(m.c.done), m.c.role == "assistant", ~written)
    if judge is not None:
        query = query.where(m.c.updated_at < processes.NOW - FRESH_SECONDS)
    return query.order_by(m.c.n)


async def are_unfinished(connection: AsyncConnection, judge: str | None) -> bool:
    """Whether there are answers that are not done and that no process writes. See `take_unfinished`."""
    return await connection.scalar(_unfinished(judge).limit(1)) is not None


async def take_unfinished(connection: AsyncConnection, most: int, judge: str | None) -> list[tuple[str, str]]:
    """Some answers that are not done and that no process writes, by chat and id: the caller's until its unit is over.

    Where other processes share the database, messages that changed a short while ago are left out: a page may have
    stored one and be about to have it answered.
    """
    query = _unfinished(judge).limit(most)
    rows = await connection.execute(query.with_for_update(skip_locked=True, of=tables.message))
    return [(row[1], row[2]) for row in rows]


async def running_messages(connection: AsyncConnection, chat_id: str) -> set[str]:
    """Ids of a chat's messages that are being written now, by any process."""
    return {one.message_id for one in await of_chat(connection, chat_id)}
