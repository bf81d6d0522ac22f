"""Outside services that knowledge is found in. What only the server reads of them is sealed."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import knowledge, tables
from open_webui.models.base import among, decode_json, new_id, now
from open_webui.principal import Principal

t, base = tables.knowledge_connection, tables.knowledge


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A row. endpoint: without a password. sealed: JSON of the rest, encrypted."""

    id: str
    name: str
    provider: str
    endpoint: str
    sealed: str | None
    config: dict[str, Any] | None
    capabilities: dict[str, Any] | None
    enabled: bool
    created_at: int
    updated_at: int


_all: Final = sa.select(*(t.c[name] for name in Connection.__struct_fields__))


def _row(row: Any) -> Connection:
    return Connection(**dict(zip(Connection.__struct_fields__, row, strict=True)))


async def every(connection: AsyncConnection) -> list[Connection]:
    """All of them, by name."""
    return [_row(row) for row in await connection.execute(_all.order_by(t.c.name, t.c.id))]


async def get(connection: AsyncConnection, connection_id: str, *, lock: bool = False) -> Connection | None:
    query = _all.where(t.c.id == connection_id)
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else _row(row)


async def put(connection: AsyncConnection, values: dict[str, Any], connection_id: str | None = None) -> str:
    """Stores a connection, a new one where no id is given. Gives its id."""
    at = now()
    if connection_id is not None:
        await connection.execute(t.update().where(t.c.id == connection_id).values(values | {"updated_at": at}))
        return connection_id
    made = {"id": new_id(), "created_at": at, "updated_at": at} | values
    await connection.execute(t.insert().values(made))
    acts.about("knowledge_connection", str(made["id"]))
    return str(made["id"])


async def used_by(connection: AsyncConnection, connection_id: str) -> int:
    """How many knowledge bases are found through it."""
    count = sa.select(sa.func.count()).select_from(base).where(base.c.connection_id == connection_id)
    return int(await connection.scalar(count) or 0)


async def delete(connection: AsyncConnection, connection_id: str) -> None:
    await connection.execute(t.delete().where(t.c.id == connection_id))


class Outsider(msgspec.Struct, frozen=True):
    """A base that is found elsewhere. source: what of the service is searched."""

    id: str
    name: str
    source: dict[str, Any]
    connection: Connection


async def readable(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> list[Outsider]:
    """Those of some bases that somebody may read and that are found through a connection which is switched on."""
    columns = (base.c.id, base.c.name, sa.cast(base.c.meta, sa.Text), *(t.c[n] for n in Connection.__struct_fields__))
    wanted = among(base.c.id, ids), t.c.enabled, knowledge.repository.readable_by(principal)
    rows = await connection.execute(sa.select(*columns).join(t, t.c.id == base.c.connection_id).where(*wanted))
    return [Outsider(row[0], row[1], _source(row[2]), _row(row[3:])) for row in rows]


def _source(meta: str | None) -> dict[str, Any]:
    found: Any = decode_json(meta)
    for name in ("external", "source"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
