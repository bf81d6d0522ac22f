"""What administrators have told of events of the server: one row for an address."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import now

t = tables.event_webhook


class EventWebhook(msgspec.Struct, frozen=True):
    """targets: whose events, as users and groups; None: everybody's and the server's own; empty: the server's own.

    sealed: its address and the secret that signs, encrypted.
    """

    id: str
    name: str
    enabled: bool
    events: list[str]
    targets: list[dict[str, str]] | None
    sealed: str
    failures: int
    error: str | None
    created_at: int
    updated_at: int


_COLUMNS = [t.c[name] for name in EventWebhook.__struct_fields__]


async def every(connection: AsyncConnection) -> list[EventWebhook]:
    """All of them, in the order of their names."""
    query = sa.select(*_COLUMNS).order_by(t.c.name, t.c.id)
    return [EventWebhook(*row) for row in await connection.execute(query)]


async def count(connection: AsyncConnection) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0)


async def get(connection: AsyncConnection, webhook_id: str) -> EventWebhook | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(t.c.id == webhook_id))).first()
    return None if row is None else EventWebhook(*row)


async def insert(connection: AsyncConnection, webhook: EventWebhook) -> None:
    await connection.execute(t.insert().values(msgspec.structs.asdict(webhook)))
    acts.about("event_webhook", webhook.id)


async def change(connection: AsyncConnection, webhook_id: str, values: Mapping[str, Any]) -> None:
    await connection.execute(t.update().where(t.c.id == webhook_id).values(**values, updated_at=now()))


async def went_well(connection: AsyncConnection, webhook_id: str) -> None:
    failed = sa.and_(t.c.id == webhook_id, sa.or_(t.c.failures > 0, t.c.error.is_not(None)))
    await connection.execute(t.update().where(failed).values(failures=0, error=None))


async def went_wrong(connection: AsyncConnection, webhook_id: str, error: str, most: int) -> None:
    """Counts an event that could not be told; after so many one after the other it is switched off."""
    values = {"failures": t.c.failures + 1, "error": error, "enabled": sa.and_(t.c.enabled, t.c.failures + 1 < most)}
    await connection.execute(t.update().where(t.c.id == webhook_id).values(values))


async def delete(connection: AsyncConnection, webhook_id: str) -> bool:
    return (await connection.execute(t.delete().where(t.c.id == webhook_id))).rowcount == 1
