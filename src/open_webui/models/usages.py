"""What model calls cost: one row a provider call."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables

_columns = [column for column in tables.usage.c if column.name != "n"]
_add = Prepared(
    tables.usage.insert().from_select(
        [column.name for column in _columns],
        sa.select(*(sa.bindparam(column.name, type_=column.type) for column in _columns)).where(
            sa.exists().where(tables.user.c.id == sa.bindparam("user_id", type_=sa.Text))
        ),
    )
)


async def add(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    """Inserts usage rows; those of accounts that are gone meanwhile are left out."""
    await _add.run_many(connection, rows)
