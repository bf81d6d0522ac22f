"""Sessions as people see them: a row for each token that was used, written now and then. What is shown is good."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, now

t, credential, revoked, user = tables.session, tables.credential, tables.revoked_token, tables.user
# When one without an end leaves: not in our time.
NEVER: Final = 2**53
# Sessions of one person that are listed: those used last.
MOST_LISTED: Final = 200
# Rows that one clean-up removes at most.
_PORTION: Final = 10_000


class Session(msgspec.Struct, frozen=True):
    """A row. stamp: the account's session stamp at its beginning."""

    jti: str
    user_id: str
    stamp: str
    device: str
    auth_method: str
    first_address: str
    last_address: str
    created_at: int
    last_used_at: int
    expires_at: int


_columns = [t.c[name] for name in Session.__struct_fields__]
# It has not ended, by its time, by itself, or with all of the account's.
_good = sa.and_(
    t.c.stamp == credential.c.session_stamp,
    credential.c.user_id == t.c.user_id,
    ~sa.exists().where(revoked.c.jti == t.c.jti).correlate(t),
)


def _noting(connection: AsyncConnection) -> "sa.Insert":
    source = sa.select(*(sa.bindparam(c.name, type_=c.type) for c in _columns)).select_from(user)
    names = [c.name for c in _columns]
    # Of an account that is gone there is nothing to note.
    statement = inserting(connection, t).from_select(names, source.where(user.c.id == sa.bindparam("user_id")))
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[t.c.jti],
        set_={"device": new.device, "last_address": new.last_address, "last_used_at": new.last_used_at},
        where=t.c.last_used_at <= new.last_used_at,
    )


async def note(connection: AsyncConnection, found: Sequence[Session]) -> None:
    """Notes uses of sessions: the first one makes the row."""
    # In one order, so that two processes don't wait for each other.
    rows = [msgspec.structs.asdict(one) for one in sorted(found, key=lambda one: one.jti)]
    await connection.execute(_noting(connection), rows)


async def of_user(connection: AsyncConnection, user_id: str) -> list[Session]:
    """Somebody's that are good, those used last first."""
    mine = sa.and_(t.c.user_id == user_id, t.c.expires_at > now(), _good)
    query = sa.select(*_columns).where(mine).order_by(t.c.last_used_at.desc(), t.c.jti).limit(MOST_LISTED)
    return [Session(*row) for row in await connection.execute(query)]


async def move(connection: AsyncConnection, jti: str, new_jti: str, stamp: str) -> None:
    """A session goes on with another token."""
    await connection.execute(t.update().where(t.c.jti == jti).values(jti=new_jti, stamp=stamp))


async def remove(connection: AsyncConnection, user_id: str, jti: str) -> Session | None:
    """Removes the row of a session of somebody's; None where there is none."""
    mine = sa.and_(t.c.jti == jti, t.c.user_id == user_id)
    row = (await connection.execute(t.delete().where(mine).returning(*_columns))).first()
    return None if row is None else Session(*row)


async def remove_ended(connection: AsyncConnection) -> int:
    """Removes rows of sessions that are over. How many there were."""
    is_good = sa.exists().where(_good).correlate(t)
    over = sa.select(t.c.jti).where(sa.or_(t.c.expires_at <= now(), ~is_good)).limit(_PORTION)
    return (await connection.execute(t.delete().where(t.c.jti.in_(over)))).rowcount
