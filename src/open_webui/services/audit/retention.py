"""Removes what is older than the record is kept, and says so in the record: the chain goes on from there."""

import time
from typing import Final

from open_webui.internal.acts import Act
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Every, Kind, Nothing, Run
from open_webui.models import audit
from open_webui.models.audit import Head
from open_webui.services.audit.entries import entry_of
from open_webui.services.audit.record import Audit
from open_webui.services.audit.verify import HASH, REMOVED_TO, Broken, Walk, beginning

log = get_logger(__name__)
NAME: Final = "tend the audit record"
DAY: Final = 86_400


async def remove_old(database: Database, record: Audit, days: int, now: float | None = None) -> int:
    """Removes entries older than so many days from the beginning of the chain, in portions. How many these were.

    What is removed is checked first: a chain that is broken stays as it is. now: seconds since the epoch.
    """
    before = int(((time.time() if now is None else now) - days * DAY) * 1000)
    goal = (await record.link()).seq
    removed = 0
    try:
        while True:
            async with database.write(aside=True) as unit:
                walk = await _old(unit, record, before, goal)
                if not walk.entries:
                    return removed
                await audit.append(unit.connection, entry_of(_removal(walk.last)), record.sealing)
                await audit.remove_to(unit.connection, walk.last.seq)
            removed += walk.entries
    except Broken as broken:
        log.warning("the audit record is broken; nothing is removed from it", number=broken.at, reason=str(broken))
        return removed


async def _old(unit: UnitOfWork, record: Audit, before: int, goal: int) -> Walk:
    """A walk over a portion of what is too old, by what the entries themselves say."""
    await audit.lock(unit.connection)
    walk = Walk({record.sealing.epoch: record.sealing}, await beginning(unit.connection), None)
    rows = await audit.oldest(unit.connection, audit.Filters(), audit.PORTION)
    for row in rows:
        if row.seq > goal or row.at >= before:
            break
        walk.step([row])
    return walk


def _removal(last: Head) -> Act:
    act = Act(f"job {NAME}", audit.ACTION_OF_RETENTION, resource=audit.RESOURCE, via="job")
    act.changes = {REMOVED_TO: (None, last.seq), HASH: (None, last.hash)}
    return act


def retention(database: Database, record: Audit, days: int) -> Kind[Nothing]:
    """The job that does it every hour, and links what commands and lost processes left. days: 0 for ever."""

    async def run(_run: Run, _payload: Nothing) -> None:
        last = await record.link()
        log.info("the audit record's head", number=last.seq, hash=last.hash)
        if days:
            await remove_old(database, record, days)

    return Kind(name=NAME, payload=Nothing, handler=run, every=Every(3_600, phase=900), keep=0)
