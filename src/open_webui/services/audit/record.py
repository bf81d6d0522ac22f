"""Writes the audit record: an entry with the commit of what it tells of, and links into the chain a moment later."""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError

from open_webui.env import Settings
from open_webui.internal import acts
from open_webui.internal.acts import Act
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import audit
from open_webui.models.audit import Head, Sealing
from open_webui.services.audit.entries import bounded, entry_of, now_ms

log = get_logger(__name__)
Level = Literal["none", "writes", "all"]
# Entries within so many seconds are linked together.
TOGETHER: Final = 1.0
# A refusal of the same person or address at the same door is told once in so many seconds, with how often it was.
REFUSED_SECONDS: Final = 60.0
# Of how many of them the count is kept; what comes beyond is told together.
MOST_REFUSED: Final = 1_000
# What somebody writes into one thing by one event is recorded once in so many seconds.
EVENT_SECONDS: Final = 600.0
MOST_EVENTS: Final = 10_000


def sealing_of(secret: str) -> Sealing:
    """The key of the record, of the server's secret."""
    key = hmac.new(secret.encode(), b"oui-backend audit record", hashlib.sha256).digest()
    return Sealing(key, hashlib.sha256(key).hexdigest()[:16])


@asynccontextmanager
async def opened(settings: Settings, database: Database, secret: str) -> AsyncIterator["Audit"]:
    """The record as the settings say, while it is written. secret: the server's."""
    record = Audit(database, settings.audit_level, sealing_of(secret), needs_reason=settings.enable_audit_reason)
    await record.open()
    try:
        yield record
    finally:
        await record.close()


_OTHERS: Final = ("", "")


class Refusals:
    """How often who was refused where, in bounded memory: strangers choose addresses, and must not fill the record."""

    def __init__(self) -> None:
        # When the next one is told, and how many were not.
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        # When room is made again: looking through all of them costs something.
        self._room_at = 0.0

    def count(self, who: str, what: str) -> int:
        """Counts one. How many it stands for, if it is to be told now; 0 else."""
        at = time.monotonic()
        key = (who, what)
        if key not in self._seen and len(self._seen) >= MOST_REFUSED:
            if at >= self._room_at:
                self._room_at = at + REFUSED_SECONDS
                self._seen = {known: seen for known, seen in self._seen.items() if seen[0] > at}
            if len(self._seen) >= MOST_REFUSED:
                key = _OTHERS
        until, untold = self._seen.get(key, (0.0, 0))
        if until > at:
            self._seen[key] = (until, untold + 1)
            return 0
        self._seen[key] = (at + REFUSED_SECONDS, 0)
        return untold + 1


class Lately:
    """What is recorded once in EVENT_SECONDS, in bounded memory: each key stroke in a note is an event."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def is_new(self, *key: str) -> bool:
        return self._until.get(key, 0.0) <= time.monotonic()

    def remember(self, *key: str) -> None:
        self._until[key] = time.monotonic() + EVENT_SECONDS
        self._until.move_to_end(key)
        if len(self._until) > MOST_EVENTS:
            self._until.popitem(last=False)


class Audit:
    """The record of one process. Nothing is recorded where the level is "none". links: whether it links what it writes."""

    def __init__(
        self, database: Database, level: Level, sealing: Sealing, *, needs_reason: bool = False, links: bool = True
    ) -> None:
        self.level = level
        self.needs_reason = needs_reason
        self.sealing = sealing
        self._database = database
        self._links = links
        self.lately = Lately()
        self._refusals = Refusals()
        self._linking = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None
        if self.is_on:
            database.before_commit = self._stamp

    @property
    def is_on(self) -> bool:
        return self.level != "none"

    async def _stamp(self, unit: UnitOfWork) -> Callable[[], None] | None:
        """Puts the entry of what is being done into the transaction that does it. What it gives follows the commit."""
        act = acts.own()
        if act is None or not act.is_due:
            return None
        # It travels with the commit.
        with unit.together():
            await audit.add(unit.connection, bounded(entry_of(act)), self.sealing)

        def stored() -> None:
            act.written()
            self._soon()

        return stored

    async def finish(self, act: Act) -> None:
        """Records an act that is done and was not recorded with what it stored, before its caller hears of it."""
        if act.is_due:
            async with self._database.write():
                """The entry is all that is stored."""

    async def fail(self, act: Act, status: int) -> None:
        """Records that an act failed of which something is stored already."""
        if act.is_written:
            await self._put(act, "failed", status)

    async def refuse(self, act: Act, status: int, who: str) -> None:
        """Records a refusal, unless it is one of many. who: the account, or the address of a stranger."""
        times = self._refusals.count(who, act.what)
        if times:
            await self._put(act, "refused", status, times)

    async def _put(self, act: Act, outcome: str, status: int, times: int = 1) -> None:
        # What was noted was not stored, or has an entry already.
        act.changes, act.opened = {}, []
        try:
            async with self._database.write(aside=True) as unit:
                await audit.add(unit.connection, bounded(entry_of(act, outcome, status, times)), self.sealing)
        except (SQLAlchemyError, OSError) as error:
            # It was refused, or has failed, whether that is recorded or not.
            log.warning("a refusal or a failure could not be recorded", what=act.what, error=str(error))
            return
        self._soon()

    def _soon(self) -> None:
        if self._links and (self._waiting is None or self._waiting.done()):
            self._waiting = asyncio.create_task(self._later(), name="link the audit record")

    async def _later(self) -> None:
        await asyncio.sleep(TOGETHER)
        try:
            await self.link()
        except (SQLAlchemyError, OSError) as error:
            log.warning("entries of the audit record could not be linked; they wait", error=str(error))

    async def link(self) -> Head:
        """Links all that waits, also what processes left that have ended. The last link."""
        async with self._linking:
            while True:
                async with self._database.write(aside=True) as unit:
                    await audit.lock(unit.connection)
                    count, last = await audit.link_some(unit.connection, self.sealing, now_ms())
                if count < audit.PORTION:
                    return last

    async def open(self) -> None:
        """Links what was left."""
        last = await self.link()
        log.info("the audit record's head", level=self.level, number=last.seq, hash=last.hash)

    async def close(self) -> None:
        """Links what is left. What can't be is linked at the next start."""
        if self._waiting is not None:
            self._waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._waiting
        try:
            last = await self.link()
        except (SQLAlchemyError, OSError) as error:
            log.warning("entries of the audit record could not be linked; they wait", error=str(error))
        else:
            log.info("the audit record's head", number=last.seq, hash=last.hash)
