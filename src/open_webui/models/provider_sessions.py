"""Sessions that a provider began, by the ids of their tokens."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import now

t, identity = tables.provider_session, tables.identity
# When one without an end leaves: not in our time.
NEVER = 2**53


class ProviderSession(msgspec.Struct, frozen=True):
    """A row. expires_at: of our session; NEVER for one that doesn't end. sealed: "" once the provider's tokens are away."""

    jti: str
    user_id: str
    identity_id: str
    provider: str
    sid: str
    sealed: str
    expires_at: int
    created_at: int
    updated_at: int


_columns = [t.c[name] for name in ProviderSession.__struct_fields__]


async def add(connection: AsyncConnection, session: ProviderSession) -> None:
    """Notes one. Those that have ended anyway are cleared on the way."""
    await connection.execute(t.delete().where(t.c.expires_at < now()))
    await connection.execute(t.insert().values(**msgspec.structs.asdict(session)))


async def get(connection: AsyncConnection, jti: str) -> ProviderSession | None:
    row = (await connection.execute(sa.select(*_columns).where(t.c.jti == jti))).first()
    return None if row is None else ProviderSession(*row)


async def of_user(connection: AsyncConnection, user_id: str) -> list[ProviderSession]:
    """Somebody's that have not ended, the newest first."""
    mine = sa.and_(t.c.user_id == user_id, t.c.expires_at >= now())
    query = sa.select(*_columns).where(mine).order_by(t.c.created_at.desc(), t.c.jti)
    return [ProviderSession(*row) for row in await connection.execute(query)]


async def of_subject(connection: AsyncConnection, provider: str, subject: str, sid: str) -> list[ProviderSession]:
    """Those of a provider's session, or where none is named, all of a person there. Both where both are named."""
    wanted = t.c.provider == provider
    if sid:
        wanted = sa.and_(wanted, t.c.sid == sid)
    if subject:
        theirs = sa.select(identity.c.id).where(identity.c.provider == provider, identity.c.subject == subject)
        wanted = sa.and_(wanted, t.c.identity_id.in_(theirs))
    if not sid and not subject:
        return []
    return [ProviderSession(*row) for row in await connection.execute(sa.select(*_columns).where(wanted))]


async def of_identity(connection: AsyncConnection, identity_id: str) -> list[ProviderSession]:
    """Those that were begun by one identity."""
    rows = await connection.execute(sa.select(*_columns).where(t.c.identity_id == identity_id))
    return [ProviderSession(*row) for row in rows]


async def move(connection: AsyncConnection, jti: str, new_jti: str) -> None:
    """A session goes on with another token."""
    await connection.execute(t.update().where(t.c.jti == jti).values(jti=new_jti, updated_at=now()))


async def remove(connection: AsyncConnection, jti: str) -> None:
    await connection.execute(t.delete().where(t.c.jti == jti))


async def put_tokens(connection: AsyncConnection, session: ProviderSession, sealed: str) -> bool:
    """Stores other tokens in place of those that a session had. False where it has ended or has others by now."""
    same = sa.and_(t.c.jti == session.jti, t.c.sealed == session.sealed)
    return (await connection.execute(t.update().where(same).values(sealed=sealed, updated_at=now()))).rowcount > 0


async def remove_all(connection: AsyncConnection, user_id: str, *but: str) -> None:
    """Removes somebody's, with the tokens in them. but: ids of those that stay."""
    await connection.execute(t.delete().where(t.c.user_id == user_id, t.c.jti.not_in(but)))


async def forget_tokens(connection: AsyncConnection, user_id: str, provider: str) -> bool:
    """Takes a provider's tokens away from somebody's sessions, which go on. False where there are none."""
    mine = sa.and_(t.c.user_id == user_id, t.c.provider == provider, t.c.sealed != "")
    return (await connection.execute(t.update().where(mine).values(sealed="", updated_at=now()))).rowcount > 0
