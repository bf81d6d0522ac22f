"""Passkeys, what they are about to sign, and when the owners of sessions showed that it is them."""

from collections.abc import Iterable
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, new_id, now

key, waiting, proof = tables.passkey, tables.passkey_challenge, tables.session_proof

Purpose = Literal["sign-in", "verify", "enroll", "register", "proof"]
Kind = Literal["password", "factor"]


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A row; see the table."""

    id: str
    user_id: str
    credential_id: str
    rp_id: str
    public_key: str
    name: str
    transports: str
    counter: int
    backup_eligible: bool
    backed_up: bool
    created_at: int
    last_used_at: int | None = None


class Ceremony(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to be signed. user_id: None where anybody's passkey may. jti: of the session that asked, "" for none."""

    hash: str
    purpose: Purpose
    user_id: str | None
    jti: str
    challenge: str
    rp_id: str
    expires_at: int


_key = [key.c[name] for name in Passkey.__struct_fields__]
_waiting = [waiting.c[name] for name in Ceremony.__struct_fields__]


def _passkey(row: Iterable[object]) -> Passkey:
    return msgspec.convert(dict(zip(Passkey.__struct_fields__, row, strict=True)), Passkey)


async def of_user(connection: AsyncConnection, user_id: str) -> list[Passkey]:
    """Somebody's, the oldest first."""
    query = sa.select(*_key).where(key.c.user_id == user_id).order_by(key.c.created_at, key.c.id)
    return [_passkey(row) for row in await connection.execute(query)]


async def has_any(connection: AsyncConnection, user_id: str) -> bool:
    return await connection.scalar(sa.select(key.c.id).where(key.c.user_id == user_id).limit(1)) is not None


async def find(connection: AsyncConnection, credential_id: str) -> Passkey | None:
    """The one that an authenticator calls so."""
    row = (await connection.execute(sa.select(*_key).where(key.c.credential_id == credential_id))).first()
    return None if row is None else _passkey(row)


async def put(connection: AsyncConnection, made: Passkey) -> bool:
    """Stores a new one. False where somebody has it already."""
    query = inserting(connection, key).values(**msgspec.structs.asdict(made)).on_conflict_do_nothing()
    return (await connection.execute(query)).rowcount == 1


def new(user_id: str, **values: object) -> Passkey:
    """One that is about to be stored. values: the rest of the row."""
    return msgspec.convert({"id": new_id(), "user_id": user_id, "created_at": now(), **values}, Passkey)


async def used(connection: AsyncConnection, passkey_id: str, counter: int, *, backed_up: bool) -> None:
    """It has signed. counter: how often, as it says."""
    values = {"counter": counter, "backed_up": backed_up, "last_used_at": now()}
    await connection.execute(key.update().where(key.c.id == passkey_id).values(**values))


async def rename(connection: AsyncConnection, user_id: str, passkey_id: str, name: str) -> Passkey | None:
    """The passkey under its new name; None where it is not that person's."""
    query = key.update().where(key.c.id == passkey_id, key.c.user_id == user_id).values(name=name).returning(*_key)
    row = (await connection.execute(query)).first()
    return None if row is None else _passkey(row)


async def remove(connection: AsyncConnection, user_id: str, passkey_id: str) -> bool:
    """Whether it was there, and that person's."""
    query = key.delete().where(key.c.id == passkey_id, key.c.user_id == user_id)
    return (await connection.execute(query)).rowcount == 1


async def remove_all(connection: AsyncConnection, user_id: str) -> bool:
    """Removes all of somebody's, what they were about to sign, and what was proved. Whether there was one."""
    await connection.execute(waiting.delete().where(waiting.c.user_id == user_id))
    await connection.execute(proof.delete().where(proof.c.user_id == user_id))
    return (await connection.execute(key.delete().where(key.c.user_id == user_id))).rowcount > 0


# What is about to be signed


async def begin(connection: AsyncConnection, ceremony: Ceremony) -> None:
    """Notes it, in place of one of the same token. Those whose time is over are cleared on the way."""
    await connection.execute(
        waiting.delete().where((waiting.c.expires_at <= now()) | (waiting.c.hash == ceremony.hash))
    )
    await connection.execute(waiting.insert().values(**msgspec.structs.asdict(ceremony)))


async def take(connection: AsyncConnection, token_hash: str, purpose: Purpose) -> Ceremony | None:
    """One whose time isn't over, for once: it is gone then."""
    query = (
        waiting.delete()
        .where(waiting.c.hash == token_hash, waiting.c.purpose == purpose, waiting.c.expires_at > now())
        .returning(*_waiting)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else Ceremony(**dict(zip(Ceremony.__struct_fields__, row, strict=True)))


# Fresh proofs


async def prove(connection: AsyncConnection, jti: str, user_id: str, kind: Kind, *, at: int, keep: int) -> None:
    """The owner of a session has shown that it is them. keep: seconds after which a proof is of no use any more."""
    await connection.execute(proof.delete().where(proof.c.proved_at <= at - keep))
    query = inserting(connection, proof).values(jti=jti, user_id=user_id, kind=kind, proved_at=at)
    await connection.execute(query.on_conflict_do_update(index_elements=["jti", "kind"], set_={"proved_at": at}))


async def is_proved(connection: AsyncConnection, jti: str, since: int, kinds: Iterable[Kind]) -> bool:
    """Whether the owner of a session has shown so by one of these since then."""
    query = sa.select(proof.c.jti).where(proof.c.jti == jti, proof.c.proved_at > since, proof.c.kind.in_(list(kinds)))
    return await connection.scalar(query.limit(1)) is not None
