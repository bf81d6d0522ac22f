"""Processes that share a PostgreSQL database: a lease each, which its process renews while it lives."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting

t = tables.process
# How often a lease is renewed.
BEAT_SECONDS: Final = 2.0
# Without a beat for so long, a process is taken for dead.
LEASE_SECONDS: Final = 8
# Who has beaten for so long without a gap knows that the others could have beaten, too: the database was there for all.
STEADY_SECONDS: Final = 6
_GAP_SECONDS: Final = 4
_FORGET_SECONDS: Final = 3_600
_SECRET: Final = "secret_key"
# The database's clock: hosts that share it may disagree about the time.
NOW = sa.cast(sa.extract("epoch", sa.func.now()), sa.BigInteger)


async def beat(connection: AsyncConnection, instance: str, host: str) -> None:
    """Says that a process lives."""
    new = inserting(connection, t).values(instance=instance, host=host, started_at=NOW, beat_at=NOW, steady_at=NOW)
    steady = sa.case((t.c.beat_at < NOW - _GAP_SECONDS, NOW), else_=t.c.steady_at)
    await connection.execute(
        new.on_conflict_do_update(index_elements=[t.c.instance], set_={"beat_at": NOW, "steady_at": steady})
    )


async def leave(connection: AsyncConnection, instance: str) -> None:
    """Says that a process ends; forgets those that died long ago."""
    old = t.c.beat_at < NOW - _FORGET_SECONDS
    await connection.execute(t.delete().where((t.c.instance == instance) | old))


async def hosts(connection: AsyncConnection) -> list[str]:
    """The machines on which processes live, in order."""
    return sorted(set(await connection.scalars(sa.select(t.c.host).where(t.c.beat_at >= NOW - LEASE_SECONDS))))


def is_alive(instance: "sa.ColumnElement[str]") -> "sa.ColumnElement[bool]":
    """Whether the lease of a process holds."""
    return sa.exists().where(t.c.instance == instance, t.c.beat_at >= NOW - LEASE_SECONDS)


def may_judge(instance: str) -> "sa.ColumnElement[bool]":
    """Whether a process has beaten for so long that one that is silent meanwhile can only be dead."""
    return sa.exists().where(
        t.c.instance == instance, t.c.beat_at >= NOW - LEASE_SECONDS, t.c.steady_at <= NOW - STEADY_SECONDS
    )


async def agree_on_secret(connection: AsyncConnection, fingerprint: str) -> bool:
    """Whether a process that starts may use its secret: it is that of the others, or there are none.

    A process that has looked a short while ago may not have its lease yet; it counts.
    """
    at = int(await connection.scalar(sa.select(NOW)) or 0)
    kept = tables.singleton
    new = inserting(connection, kept).values(name=_SECRET, value=f"{fingerprint} {at}")
    # The row is held from here on: of two that start at once, one comes after the other.
    held = new.on_conflict_do_update(index_elements=[kept.c.name], set_={"value": kept.c.value}).returning(kept.c.value)
    stored, looked_at = str(await connection.scalar(held)).split()
    if stored != fingerprint:
        others = sa.exists().where(t.c.beat_at >= NOW - LEASE_SECONDS)
        if int(looked_at) > at - LEASE_SECONDS or await connection.scalar(sa.select(others)):
            return False
    await connection.execute(kept.update().where(kept.c.name == _SECRET).values(value=f"{fingerprint} {at}"))
    return True
