"""Settings that admins stored."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.config import BY_KEY
from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import clean_json, inserting, now
from open_webui.models.noted import HIDDEN

t = tables.config


async def get_all(connection: AsyncConnection) -> dict[str, Any]:
    rows = await connection.execute(sa.select(t.c.key, t.c.value))
    return {row.key: row.value for row in rows}


async def beginning_with(connection: AsyncConnection, start: str) -> dict[str, Any]:
    """The values whose keys begin with a text."""
    wanted = sa.select(t.c.key, t.c.value).where(t.c.key.startswith(start, autoescape=True))
    return {row.key: row.value for row in await connection.execute(wanted)}


async def put(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Inserts or replaces the given keys, in their order, so that two of these don't wait for each other."""
    if not values:
        return
    await _note(connection, values)
    statement = inserting(connection, t)
    statement = statement.on_conflict_do_update(
        index_elements=[t.c.key],
        set_={"value": statement.excluded.value, "updated_at": statement.excluded.updated_at},
    )
    at = now()
    await connection.execute(
        statement, [{"key": k, "value": clean_json(v), "updated_at": at} for k, v in sorted(values.items())]
    )


async def _note(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Tells the audit record what is changed, without secrets."""
    if acts.current() is None:
        return
    was = {
        row.key: row.value for row in await connection.execute(sa.select(t.c.key, t.c.value).where(t.c.key.in_(values)))
    }
    acts.note(
        "config",
        "",
        {
            key: HIDDEN if _is_secret(key) else (was.get(key), value)
            for key, value in values.items()
            if key not in was or was[key] != value
        },
    )


def _is_secret(key: str) -> bool:
    return key not in BY_KEY or BY_KEY[key].secret
