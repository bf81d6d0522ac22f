"""API keys: one an account, found by hash."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, now

t = tables.api_key


class ApiKey(msgspec.Struct, frozen=True):
    user_id: str
    sealed: str


async def put(connection: AsyncConnection, user_id: str, key_hash: str, sealed: str) -> None:
    """Stores the account's key, in place of the one it had."""
    statement = inserting(connection, t).values(hash=key_hash, user_id=user_id, sealed=sealed, created_at=now())
    new = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[t.c.user_id], set_={"hash": new.hash, "sealed": new.sealed, "created_at": new.created_at}
        )
    )


async def of_user(connection: AsyncConnection, user_id: str) -> ApiKey | None:
    row = (await connection.execute(sa.select(t.c.user_id, t.c.sealed).where(t.c.user_id == user_id))).first()
    return None if row is None else ApiKey(*row)


async def owner(connection: AsyncConnection, key_hash: str) -> str | None:
    """The id of the account that a key's hash belongs to."""
    return await connection.scalar(sa.select(t.c.user_id).where(t.c.hash == key_hash))


async def delete(connection: AsyncConnection, user_id: str) -> bool:
    return (await connection.execute(t.delete().where(t.c.user_id == user_id))).rowcount == 1
