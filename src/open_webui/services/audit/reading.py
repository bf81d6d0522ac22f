"""What administrators see of the audit record: a page of it, and all of it as lines of JSON."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from open_webui.internal.db import Database
from open_webui.models import audit
from open_webui.models.audit import Filters, Row
from open_webui.services.audit.record import Audit
from open_webui.services.audit.verify import verify


def shown(row: Row) -> dict[str, Any]:
    """A link as it goes out: every field, also those that say nothing."""
    entry = msgspec.structs.asdict(audit.read(row.entry))
    return {"seq": row.seq, "hash": row.hash, "seal": row.seal, "epoch": row.epoch, **entry}


async def page(database: Database, record: Audit, filters: Filters, limit: int) -> dict[str, Any]:
    """Some links, the newest first, with those that were written just now."""
    await record.link()
    async with database.read() as connection:
        rows = await audit.newest(connection, filters, limit + 1)
    return {"items": [shown(row) for row in rows[:limit]], "next": rows[limit - 1].seq if len(rows) > limit else None}


async def lines(database: Database, record: Audit, filters: Filters) -> AsyncIterator[bytes]:
    """All links, the oldest first: a line each, with the entry's text as it was hashed."""
    await record.link()
    after = filters.after if filters.after is not None else 0
    while True:
        async with database.read() as connection:
            rows = await audit.oldest(connection, msgspec.structs.replace(filters, after=after), audit.PORTION)
        if not rows:
            return
        after = rows[-1].seq
        yield b"".join(_line(row) for row in rows)


def _line(row: Row) -> bytes:
    link = {
        "seq": row.seq,
        "hash": row.hash,
        "seal": row.seal,
        "epoch": row.epoch,
        "entry": msgspec.Raw(row.entry.encode()),
    }
    return msgspec.json.encode(link) + b"\n"


async def verdict(database: Database, record: Audit) -> dict[str, Any]:
    """What comes of checking the whole chain under this server's secret."""
    await record.link()
    found = await verify(database, [record.sealing])
    return {"is_whole": found.is_whole, **msgspec.structs.asdict(found)}
