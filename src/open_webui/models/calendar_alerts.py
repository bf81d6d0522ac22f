"""Reminders of events: when the next ones come, and whom they concern."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables

event, calendar = tables.calendar_event, tables.calendar


async def due(connection: AsyncConnection, at: int, most: int) -> list[str]:
    """The ids of events whose reminder has come, the oldest first."""
    query = sa.select(event.c.id).where(event.c.alert_at <= at).order_by(event.c.alert_at, event.c.id).limit(most)
    return list(await connection.scalars(query))


async def first(connection: AsyncConnection) -> int | None:
    """When the next reminder of all comes."""
    at: int | None = await connection.scalar(sa.select(sa.func.min(event.c.alert_at)))
    return at


async def owner_of(connection: AsyncConnection, calendar_id: str) -> str | None:
    """Whose calendar it is."""
    found: str | None = await connection.scalar(sa.select(calendar.c.user_id).where(calendar.c.id == calendar_id))
    return found
