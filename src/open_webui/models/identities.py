"""Who people are at providers: found by provider and subject, many for one account."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, new_id, now

t, credential = tables.identity, tables.credential


class Identity(msgspec.Struct, frozen=True):
    """A row. email: as the provider said it. claims_digest: of what it said last, "" where that is not known."""

    id: str
    user_id: str
    provider: str
    subject: str
    email: str | None
    claims_digest: str
    created_at: int
    last_used_at: int


_columns = [t.c[name] for name in Identity.__struct_fields__]


async def find(connection: AsyncConnection, provider: str, subject: str) -> Identity | None:
    query = sa.select(*_columns).where(t.c.provider == provider, t.c.subject == subject)
    row = (await connection.execute(query)).first()
    return None if row is None else Identity(*row)


async def of_user(connection: AsyncConnection, user_id: str) -> list[Identity]:
    """Somebody's, the oldest first."""
    query = sa.select(*_columns).where(t.c.user_id == user_id).order_by(t.c.created_at, t.c.id)
    return [Identity(*row) for row in await connection.execute(query)]


async def add(
    connection: AsyncConnection, user_id: str, provider: str, subject: str, email: str | None, digest: str = ""
) -> bool:
    """A new one; False when this person of the provider has an account already."""
    at = now()
    statement = inserting(connection, t).values(
        id=new_id(), user_id=user_id, provider=provider, subject=subject, email=email, claims_digest=digest,
        created_at=at, last_used_at=at,
    )  # fmt: skip
    done = await connection.execute(statement.on_conflict_do_nothing(index_elements=[t.c.provider, t.c.subject]))
    return done.rowcount == 1


async def used(connection: AsyncConnection, identity_id: str, email: str | None, digest: str) -> None:
    """Notes a sign-in, and what the provider said at it."""
    values = {"email": email, "claims_digest": digest, "last_used_at": now()}
    await connection.execute(t.update().where(t.c.id == identity_id).values(**values))


async def remove(connection: AsyncConnection, user_id: str, identity_id: str) -> bool:
    """Takes one from its owner, with the sessions that it began (foreign keys cascade)."""
    mine = sa.and_(t.c.id == identity_id, t.c.user_id == user_id)
    return (await connection.execute(t.delete().where(mine))).rowcount == 1


async def has_password(connection: AsyncConnection, user_id: str) -> bool:
    query = sa.select(credential.c.user_id).where(
        credential.c.user_id == user_id, credential.c.password_hash.is_not(None)
    )
    return (await connection.execute(query)).first() is not None
