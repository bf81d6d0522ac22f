"""API keys: found by hash. One of an account's may be shown again (the wire's), all others are seen once."""

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import among, inserting, new_id, now
from open_webui.models.noted import HIDDEN
from open_webui.principal import Principal

t, credential = tables.api_key, tables.credential
# A use is written where the last one that is written is older than so many seconds.
USED_SECONDS = 60


class ApiKey(msgspec.Struct, frozen=True):
    """A row, without its hashes. scopes, models, addresses: None for no limit."""

    id: str
    user_id: str
    sealed: str | None
    name: str
    scopes: list[str] | None
    models: list[str] | None
    addresses: list[str] | None
    budget_id: str | None
    expires_at: int | None
    last_used_at: int | None
    former_until: int | None
    created_at: int
    updated_at: int


class NewKey(msgspec.Struct, frozen=True):
    """What a key is made of."""

    name: str
    scopes: list[str] | None
    models: list[str] | None
    addresses: list[str] | None
    expires_at: int | None
    budget_id: str | None


_columns = [t.c[name] for name in ApiKey.__struct_fields__]


def _open_to(principal: Principal) -> "sa.ColumnElement[bool]":
    """The keys that somebody may see and change: their own, and for administrators those of service accounts."""
    if not principal.is_admin:
        return t.c.user_id == principal.id
    services = sa.select(credential.c.user_id).where(credential.c.service)
    return sa.or_(t.c.user_id == principal.id, t.c.user_id.in_(services))


async def put(connection: AsyncConnection, user_id: str, key_hash: str, sealed: str) -> None:
    """Stores the key that the account's owner is shown again, in place of the one they had."""
    at = now()
    statement = inserting(connection, t).values(
        id=new_id(), hash=key_hash, user_id=user_id, shown_to=user_id, sealed=sealed, created_at=at, updated_at=at
    )
    new = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[t.c.shown_to],
            set_={
                "hash": new.hash,
                "sealed": new.sealed,
                "former_hash": None,
                "former_until": None,
                "last_used_at": None,
                "created_at": at,
                "updated_at": at,
            },
        )
    )


async def shown(connection: AsyncConnection, user_id: str) -> ApiKey | None:
    """The one that its owner is shown again."""
    query = sa.select(*_columns).where(t.c.shown_to == user_id)
    row = (await connection.execute(query)).first()
    return None if row is None else ApiKey(*row)


async def delete_shown(connection: AsyncConnection, user_id: str) -> bool:
    done = await connection.execute(t.delete().where(t.c.shown_to == user_id))
    return done.rowcount == 1


async def delete_all(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute(t.delete().where(t.c.user_id == user_id))


async def add(connection: AsyncConnection, user_id: str, key_hash: str, new: NewKey, most: int) -> ApiKey | None:
    """A new one; None where the account has so many. To be called while the account's row is held."""
    if (await connection.scalar(sa.select(sa.func.count()).where(t.c.user_id == user_id)) or 0) >= most:
        return None
    at = now()
    values: dict[str, Any] = {"id": new_id(), "user_id": user_id, "created_at": at, "updated_at": at}
    values |= msgspec.structs.asdict(new)
    await connection.execute(t.insert().values(hash=key_hash, **values))
    told = {name: (None, value) for name, value in msgspec.structs.asdict(new).items()}
    acts.note("api_key", str(values["id"]), told | {"user": (None, user_id)})
    return ApiKey(sealed=None, last_used_at=None, former_until=None, **values)


async def of_user(connection: AsyncConnection, principal: Principal, user_id: str) -> list[ApiKey]:
    """An account's, the newest first, where the caller may see them."""
    query = sa.select(*_columns).where(t.c.user_id == user_id, _open_to(principal))
    return [ApiKey(*row) for row in await connection.execute(query.order_by(t.c.created_at.desc(), t.c.id))]


async def get(connection: AsyncConnection, principal: Principal, key_id: str, *, lock: bool = False) -> ApiKey | None:
    """One that the caller may change. `lock` keeps other writers waiting until the unit of work ends."""
    query = sa.select(*_columns).where(t.c.id == key_id, _open_to(principal))
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else ApiKey(*row)


async def replace_secret(
    connection: AsyncConnection, key_id: str, key_hash: str, sealed: str | None, former_until: int | None
) -> None:
    """Gives a key another secret. former_until: until when the one before is good, too; None for no longer."""
    values = {"hash": key_hash, "sealed": sealed, "former_until": former_until, "updated_at": now()}
    former = sa.null() if former_until is None else t.c.hash
    await connection.execute(t.update().where(t.c.id == key_id).values(**values, former_hash=former))
    acts.note("api_key", key_id, {"secret": HIDDEN, "former_until": (None, former_until)})


async def delete(connection: AsyncConnection, principal: Principal, key_id: str) -> str | None:
    """Ends one that the caller may change. Whose it was; None for one that is not there for them."""
    statement = t.delete().where(t.c.id == key_id, _open_to(principal)).returning(t.c.user_id)
    return (await connection.execute(statement)).scalar_one_or_none()


async def used(connection: AsyncConnection, ids: Collection[str], at: int) -> None:
    """Notes that keys were used, where that was not noted in the last minute."""
    long_ago = sa.or_(t.c.last_used_at.is_(None), t.c.last_used_at <= at - USED_SECONDS)
    # What somebody holds is being noted by another process.
    due = sa.select(t.c.id).where(among(t.c.id, ids), long_ago).with_for_update(skip_locked=True)
    await connection.execute(t.update().where(t.c.id.in_(due)).values(last_used_at=at))
