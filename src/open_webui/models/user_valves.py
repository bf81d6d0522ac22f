"""What people set of plugins for themselves, encrypted: nobody but the server reads it."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, now

t = tables.user_valves


async def get(connection: AsyncConnection, kind: str, plugin_id: str, user_id: str) -> str | None:
    """What somebody set, sealed."""
    mine = sa.and_(t.c.kind == kind, t.c.plugin_id == plugin_id, t.c.user_id == user_id)
    found: str | None = await connection.scalar(sa.select(t.c.sealed).where(mine))
    return found


async def put(connection: AsyncConnection, kind: str, plugin_id: str, user_id: str, sealed: str) -> None:
    """Puts it in the place of what was there."""
    values = {"sealed": sealed, "updated_at": now()}
    key = {"kind": kind, "plugin_id": plugin_id, "user_id": user_id}
    statement = inserting(connection, t).values(key | values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[t.c[n] for n in key], set_=values))


async def clear_where(connection: AsyncConnection, kind: str, plugins: "sa.Select[Any]") -> None:
    """Removes what all people set of some plugins; who deletes a plugin calls it."""
    await connection.execute(t.delete().where(t.c.kind == kind, t.c.plugin_id.in_(plugins)))


async def clear(connection: AsyncConnection, kind: str, plugin_ids: Collection[str]) -> None:
    """The same of plugins by their ids."""
    await connection.execute(t.delete().where(t.c.kind == kind, t.c.plugin_id.in_(list(plugin_ids))))
