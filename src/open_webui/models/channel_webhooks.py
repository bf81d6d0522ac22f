"""Webhooks of channels: by whose address somebody without an account writes."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import new_id
from open_webui.models.channels import nanoseconds

t = tables.channel_webhook


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. sealed: its token, encrypted."""

    id: str
    channel_id: str
    user_id: str
    name: str
    profile_image_url: str | None
    token_hash: str
    sealed: str
    last_used_at: int | None
    created_at: int
    updated_at: int


_columns = tuple(t.c[name] for name in Webhook.__struct_fields__)


def hash_of(token: str) -> str:
    """What of a token is compared."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _webhook(row: Any) -> Webhook:
    return Webhook(**dict(zip(Webhook.__struct_fields__, row, strict=True)))


async def of(connection: AsyncConnection, channel_id: str) -> list[Webhook]:
    """Those of a channel, the oldest first."""
    query = sa.select(*_columns).where(t.c.channel_id == channel_id).order_by(t.c.created_at, t.c.id)
    return [_webhook(row) for row in await connection.execute(query)]


async def get(connection: AsyncConnection, webhook_id: str, channel_id: str | None = None) -> Webhook | None:
    """One, of a channel where that is named."""
    query = sa.select(*_columns).where(t.c.id == webhook_id)
    if channel_id is not None:
        query = query.where(t.c.channel_id == channel_id)
    row = (await connection.execute(query)).first()
    return None if row is None else _webhook(row)


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> str:
    """A new one; its id."""
    at, webhook_id = nanoseconds(), new_id()
    await connection.execute(t.insert().values(id=webhook_id, created_at=at, updated_at=at, **values))
    return webhook_id


async def change(
    connection: AsyncConnection, webhook_id: str, values: Mapping[str, Any], *, touch: bool = True
) -> None:
    """Stores some columns. touch: it counts as changed now."""
    stamped = dict(values) | ({"updated_at": nanoseconds()} if touch else {})
    await connection.execute(t.update().where(t.c.id == webhook_id).values(stamped))


async def delete(connection: AsyncConnection, webhook_id: str) -> None:
    await connection.execute(t.delete().where(t.c.id == webhook_id))
