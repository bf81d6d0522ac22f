"""Events of a calendar by the names that they have in files (UID), and rows that come out of one. Times are nanoseconds."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among

event, user = tables.calendar_event, tables.user
# Columns that an import sets of an event that is there.
SET: Final = (
    "title", "description", "location", "start_at", "end_at", "all_day", "rrule", "zone", "until_at", "is_cancelled", "data",
    "meta", "alert_at", "updated_at",
)  # fmt: skip


class Known(msgspec.Struct, frozen=True):
    """An event as an import compares it."""

    id: str
    uid: str | None
    title: str
    description: str | None
    location: str | None
    start_at: int
    end_at: int | None
    all_day: bool
    rrule: str | None
    zone: str | None
    until_at: int
    is_cancelled: bool
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    alert_at: int | None


class Person(msgspec.Struct, frozen=True):
    """Somebody who made an event, or is invited."""

    id: str
    name: str
    email: str


async def uids(connection: AsyncConnection, calendar_id: str) -> dict[str, str]:
    """The ids of all events of a calendar by the names that they have in files: their own ids, where they came from none."""
    name = sa.func.coalesce(event.c.uid, event.c.id)
    query = sa.select(name, event.c.id).where(event.c.calendar_id == calendar_id).order_by(event.c.id)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def known(connection: AsyncConnection, ids: Collection[str]) -> list[Known]:
    """Some events."""
    query = sa.select(*(event.c[name] for name in Known.__struct_fields__)).where(among(event.c.id, ids))
    return [Known(**row._asdict()) for row in await connection.execute(query)]


async def change(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores the columns SET of events, by their ids."""
    if rows:
        values = {name: sa.bindparam(f"b_{name}", type_=event.c[name].type) for name in SET}
        statement = event.update().where(event.c.id == sa.bindparam("b_id")).values(values)
        await connection.execute(statement, [{f"b_{name}": row[name] for name in ("id", *SET)} for row in rows])


async def people(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Person]:
    """Names and addresses of some accounts."""
    query = sa.select(user.c.id, user.c.name, user.c.email).where(among(user.c.id, ids))
    return {row.id: Person(*row) for row in await connection.execute(query)}
