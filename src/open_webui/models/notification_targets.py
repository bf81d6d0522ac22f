"""Where people want to be told that something has happened: one row for a person and a name."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import among, inserting, now

t = tables.notification_target


class Target(msgspec.Struct, frozen=True):
    """sealed: its address, encrypted for its owner. shown: what may be seen of it."""

    user_id: str
    id: str
    type: str
    enabled: bool
    is_default: bool
    events: list[str]
    delivery: str
    sealed: str | None
    shown: str
    failures: int
    error: str | None
    tested_at: int
    created_at: int
    updated_at: int


_COLUMNS = [t.c[name] for name in Target.__struct_fields__]


def _row(row: Any) -> Target:
    return Target(*row)


def _mine(user_id: str, target_id: str) -> "sa.ColumnElement[bool]":
    return sa.and_(t.c.user_id == user_id, t.c.id == target_id)


async def of_user(connection: AsyncConnection, user_id: str) -> list[Target]:
    """All of somebody, in the order of their names."""
    query = sa.select(*_COLUMNS).where(t.c.user_id == user_id).order_by(t.c.id)
    return [_row(row) for row in await connection.execute(query)]


async def of_people(connection: AsyncConnection, user_ids: Collection[str]) -> list[Target]:
    """All of some people, in the order of their names."""
    query = sa.select(*_COLUMNS).where(among(t.c.user_id, user_ids)).order_by(t.c.user_id, t.c.id)
    return [_row(row) for row in await connection.execute(query)]


async def get(connection: AsyncConnection, user_id: str, target_id: str) -> Target | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(_mine(user_id, target_id)))).first()
    return None if row is None else _row(row)


async def insert(connection: AsyncConnection, target: Target) -> bool:
    """False where the person has one of this name."""
    statement = inserting(connection, t).values(msgspec.structs.asdict(target)).on_conflict_do_nothing()
    acts.about("notification", target.id)
    return (await connection.execute(statement)).rowcount == 1


async def change(connection: AsyncConnection, user_id: str, target_id: str, values: Mapping[str, Any]) -> None:
    await connection.execute(t.update().where(_mine(user_id, target_id)).values(**values, updated_at=now()))


async def set_default(connection: AsyncConnection, user_id: str, target_id: str) -> None:
    """Makes one the default, and no other."""
    await connection.execute(t.update().where(t.c.user_id == user_id).values(is_default=t.c.id == target_id))


async def claim_test(connection: AsyncConnection, user_id: str, target_id: str, seconds: int) -> bool:
    """Notes that it is tried out now. False where that was less than so many seconds ago."""
    free = sa.and_(_mine(user_id, target_id), t.c.tested_at <= now() - seconds)
    return (await connection.execute(t.update().where(free).values(tested_at=now()))).rowcount == 1


async def went_well(connection: AsyncConnection, user_id: str, target_id: str) -> None:
    failed = sa.and_(_mine(user_id, target_id), sa.or_(t.c.failures > 0, t.c.error.is_not(None)))
    await connection.execute(t.update().where(failed).values(failures=0, error=None))


async def went_wrong(connection: AsyncConnection, user_id: str, target_id: str, error: str, most: int) -> None:
    """Counts a delivery that failed for good; after so many one after the other it is switched off."""
    values = {"failures": t.c.failures + 1, "error": error, "enabled": sa.and_(t.c.enabled, t.c.failures + 1 < most)}
    await connection.execute(t.update().where(_mine(user_id, target_id)).values(values))


async def delete(connection: AsyncConnection, user_id: str, target_id: str) -> bool:
    return (await connection.execute(t.delete().where(_mine(user_id, target_id)))).rowcount == 1
