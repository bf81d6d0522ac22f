"""The record, as an administrator reads it."""

from typing import Any

import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services.audit.verify import Verdict, verify
from tests.support.live import Actor, Live

ENTRIES = "/api/v1/audit/entries"


async def entries(admin: Actor, **filters: Any) -> list[dict[str, Any]]:
    """What there is, the newest first."""
    reply = await admin.client.get(ENTRIES, params={"limit": 200} | filters)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["items"]
    return found


async def last(admin: Actor, **filters: Any) -> dict[str, Any]:
    """The newest entry of some."""
    return (await entries(admin, limit=1, **filters))[0]


async def checked(live: Live) -> Verdict:
    """What comes of checking the whole chain."""
    state = live.app.state.oui
    await state.audit.link()
    return await verify(state.database, [state.audit.sealing])


async def texts(live: Live) -> str:
    """All that the record holds, linked and not."""
    state = live.app.state.oui
    async with state.database.read() as connection:
        linked = await connection.scalars(sa.select(tables.audit_entry.c.entry))
        waiting = await connection.scalars(sa.select(tables.audit_pending.c.entry))
        return "\n".join([*linked, *waiting])
