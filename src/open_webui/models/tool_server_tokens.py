"""What people have of tool servers at which they signed in: sealed, one row for a person and a server."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, now

t = tables.tool_server_token


class Row(msgspec.Struct, frozen=True):
    """sealed: the tokens, encrypted for the person. renewing_until: seconds until which one process makes them anew."""

    sealed: str
    renewing_until: int


async def get(connection: AsyncConnection, user_id: str, server: str) -> Row | None:
    query = sa.select(t.c.sealed, t.c.renewing_until).where(t.c.user_id == user_id, t.c.server == server)
    row = (await connection.execute(query)).first()
    return None if row is None else Row(*row)


async def servers_of(connection: AsyncConnection, user_id: str) -> frozenset[str]:
    """The servers at which somebody signed in."""
    return frozenset(await connection.scalars(sa.select(t.c.server).where(t.c.user_id == user_id)))


async def put(connection: AsyncConnection, user_id: str, server: str, sealed: str) -> None:
    """Stores somebody's tokens, in place of those that were there. Nobody makes them anew any more."""
    statement = inserting(connection, t).values(
        user_id=user_id, server=server, sealed=sealed, renewing_until=0, updated_at=now()
    )
    new = statement.excluded
    changed = {"sealed": new.sealed, "renewing_until": 0, "updated_at": new.updated_at}
    await connection.execute(statement.on_conflict_do_update(index_elements=[t.c.user_id, t.c.server], set_=changed))


async def claim(connection: AsyncConnection, user_id: str, server: str, row: Row, seconds: int) -> bool:
    """Takes the making anew of tokens upon oneself. False: somebody else does it, or has done it."""
    at = now()
    mine = sa.and_(t.c.user_id == user_id, t.c.server == server, t.c.sealed == row.sealed, t.c.renewing_until <= at)
    return (await connection.execute(t.update().where(mine).values(renewing_until=at + seconds))).rowcount == 1


async def delete(connection: AsyncConnection, user_id: str, server: str) -> None:
    await connection.execute(t.delete().where(t.c.user_id == user_id, t.c.server == server))
