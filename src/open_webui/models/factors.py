"""Second factors, recovery codes, and sign-ins that wait for one. Who changes an account's holds the person's row meanwhile."""

from collections.abc import Iterable
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import new_id, now

factor, code, waiting = tables.factor, tables.recovery_code, tables.sign_in_challenge


# What a sign-in waits for: the code of an app, an app that is set up, a recovery code.
Step = Literal["verify", "enroll", "recover"]


class Factor(msgspec.Struct, frozen=True):
    """A row. sealed: its secret, encrypted. counter: what was used last. wait_until: when codes are looked at again."""

    id: str
    user_id: str
    kind: str
    sealed: str
    counter: int
    failed: int
    wait_until: int


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """A row; see the table. hash: of its token."""

    hash: str
    user_id: str
    stamp: str
    step: Step
    auth_method: str
    jti: str
    renews: str = ""
    replaces: str = ""
    sealed: str = ""
    expires_at: int


_factor = [factor.c[name] for name in Factor.__struct_fields__]
_waiting = [waiting.c[name] for name in Challenge.__struct_fields__]


async def of_user(connection: AsyncConnection, user_id: str) -> Factor | None:
    """The one that somebody is asked for, the newest."""
    query = sa.select(*_factor).where(factor.c.user_id == user_id).order_by(factor.c.created_at.desc(), factor.c.id)
    row = (await connection.execute(query.limit(1))).first()
    return None if row is None else Factor(*row)


async def put(connection: AsyncConnection, user_id: str, kind: str, sealed: str, counter: int) -> None:
    """The account's factor from now on, in place of what it had. counter: the use that proved it."""
    await connection.execute(factor.delete().where(factor.c.user_id == user_id))
    at = now()
    values = {"id": new_id(), "user_id": user_id, "kind": kind, "sealed": sealed, "counter": counter}
    await connection.execute(factor.insert().values(**values, created_at=at, last_used_at=at))


async def used(connection: AsyncConnection, factor_id: str, counter: int) -> None:
    """It was right."""
    values = {"counter": counter, "failed": 0, "wait_until": 0, "last_used_at": now()}
    await connection.execute(factor.update().where(factor.c.id == factor_id).values(**values))


async def failed(connection: AsyncConnection, factor_id: str, wait_until: int) -> None:
    """It was wrong."""
    values = {"failed": factor.c.failed + 1, "wait_until": wait_until}
    await connection.execute(factor.update().where(factor.c.id == factor_id).values(**values))


async def remove(connection: AsyncConnection, user_id: str) -> bool:
    """Removes all that an account has of it. Whether it had a factor."""
    await connection.execute(waiting.delete().where(waiting.c.user_id == user_id))
    await connection.execute(code.delete().where(code.c.user_id == user_id))
    return (await connection.execute(factor.delete().where(factor.c.user_id == user_id))).rowcount > 0


# Recovery codes


async def put_codes(connection: AsyncConnection, user_id: str, hashes: Iterable[str]) -> None:
    """These are the account's from now on."""
    await connection.execute(code.delete().where(code.c.user_id == user_id))
    await connection.execute(code.insert(), [{"user_id": user_id, "hash": each} for each in hashes])


async def spend_code(connection: AsyncConnection, user_id: str, code_hash: str) -> bool:
    """Whether it was one of the account's; it is none any more."""
    done = await connection.execute(code.delete().where(code.c.user_id == user_id, code.c.hash == code_hash))
    return done.rowcount == 1


async def count_codes(connection: AsyncConnection, user_id: str) -> int:
    return await connection.scalar(sa.select(sa.func.count()).where(code.c.user_id == user_id)) or 0


# Sign-ins that wait


async def begin(connection: AsyncConnection, challenge: Challenge) -> None:
    """Notes one. Those whose time is over are cleared on the way."""
    await connection.execute(waiting.delete().where(waiting.c.expires_at <= now()))
    await connection.execute(waiting.insert().values(**msgspec.structs.asdict(challenge)))


async def find(connection: AsyncConnection, token_hash: str) -> Challenge | None:
    """One whose time isn't over."""
    query = sa.select(*_waiting).where(waiting.c.hash == token_hash, waiting.c.expires_at > now())
    row = (await connection.execute(query)).first()
    return None if row is None else Challenge(**dict(zip(Challenge.__struct_fields__, row, strict=True)))


async def keep_secret(connection: AsyncConnection, token_hash: str, sealed: str) -> None:
    """The secret of the factor that is about to be set up."""
    await connection.execute(waiting.update().where(waiting.c.hash == token_hash).values(sealed=sealed))


async def end(connection: AsyncConnection, token_hash: str) -> None:
    await connection.execute(waiting.delete().where(waiting.c.hash == token_hash))
