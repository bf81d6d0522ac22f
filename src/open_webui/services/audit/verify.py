"""Checks the whole chain of the audit record, and says where it breaks first."""

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.db import Database
from open_webui.models import audit
from open_webui.models.audit import Head, Row, Sealing

REMOVED_TO = "removed_to"
HASH = "hash"
NO_BEGINNING = "The beginning is missing: no entry says that it was removed as too old."
NOT_FROM_THERE = "It doesn't follow what was removed before it."
MISSING = "Entries are missing before it."
CHANGED = "It was changed, or stands where another one stood."
FORGED = "Its seal is not this server's: somebody has made the chain anew."
COLUMNS = "What it is searched by is not what it says."
UNKNOWN_END = "From here on no entry is sealed under this server's secret, nor under one that was named."
NO_HEAD = "The entry that was noted is not there: the end was cut off, or the record is another one."
OTHER_HEAD = "It is not the entry that was noted."


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """first, last: numbers of the links that were checked, 0 for none. hash: of the last one. waiting: entries that are not
    linked yet. problem, at: the first break and its link; None where the chain is whole.
    """

    entries: int
    first: int
    last: int
    hash: str
    waiting: int
    problem: str | None = None
    at: int | None = None

    @property
    def is_whole(self) -> bool:
        return self.problem is None


class Broken(Exception):
    """The chain breaks at a link."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.problem, self.at = problem, at


class Walk:
    """What is known of the chain up to a link. keys: by epoch; without any the seals are not looked at."""

    def __init__(self, keys: dict[str, Sealing], begin: Head, noted: Head | None) -> None:
        self._keys = keys
        self._noted = noted
        self._found = noted is None
        self.last = begin
        self.first = 0
        self.entries = 0
        # The first link of those at the end that no known key has sealed.
        self._unsealed: int | None = None

    def step(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._check(row)
            self.last = Head(row.seq, row.hash)
            self.first = self.first or row.seq
            self.entries += 1

    def _check(self, row: Row) -> None:
        if row.seq != self.last.seq + 1:
            raise Broken(MISSING, row.seq)
        if audit.digest(self.last.hash, row.seq, row.entry) != row.hash:
            raise Broken(CHANGED, row.seq)
        key = self._keys.get(row.epoch)
        if key is None:
            self._unsealed = self._unsealed or row.seq
        elif not hmac.compare_digest(key.seal(row.hash), row.seal):
            raise Broken(FORGED, row.seq)
        else:
            # A hash is made of all before it, whatever these were sealed under.
            self._unsealed = None
        if not _has_its_columns(row):
            raise Broken(COLUMNS, row.seq)
        if self._noted is not None and row.seq == self._noted.seq:
            if row.hash != self._noted.hash:
                raise Broken(OTHER_HEAD, row.seq)
            self._found = True

    def end(self) -> None:
        if self._unsealed is not None:
            raise Broken(UNKNOWN_END, self._unsealed)
        if not self._found and self._noted is not None and self._noted.seq > self.last.seq:
            raise Broken(NO_HEAD, self._noted.seq)


def _has_its_columns(row: Row) -> bool:
    try:
        entry = audit.read(row.entry)
    except msgspec.MsgspecError:
        return False
    told = (entry.at, entry.by, entry.email, entry.action, entry.resource, entry.id, entry.outcome)
    return told == (row.at, row.actor_id, row.actor, row.action, row.resource, row.resource_id, row.outcome)


async def verify(database: Database, keys: Sequence[Sealing], noted: Head | None = None) -> Verdict:
    """Walks through the whole record, in one snapshot. noted: a link that was written down elsewhere and has to be there."""
    async with database.read() as connection:
        waiting = await audit.count_waiting(connection)
        walk = Walk({key.epoch: key for key in keys}, Head(0, audit.NOTHING), noted)
        problem: dict[str, Any] = {}
        try:
            walk.last = await beginning(connection)
            async for rows in audit.chain(connection):
                walk.step(rows)
                await asyncio.sleep(0)
            walk.end()
        except Broken as broken:
            problem = {"problem": broken.problem, "at": broken.at}
    return Verdict(
        entries=walk.entries, first=walk.first, last=walk.last.seq if walk.entries else 0, hash=walk.last.hash,
        waiting=waiting, **problem,
    )  # fmt: skip


async def beginning(connection: AsyncConnection) -> Head:
    """What the first link follows: nothing, or what an entry says was removed. That entry is checked with all others."""
    first = await audit.oldest(connection, audit.Filters(), 1)
    if not first or first[0].seq == 1:
        return Head(0, audit.NOTHING)
    removal = await audit.last_removal(connection)
    changes = {} if removal is None else _changes(removal)
    seq, digest = (changes.get(name, (None, None))[1] for name in (REMOVED_TO, HASH))
    if seq != first[0].seq - 1 or not isinstance(digest, str):
        raise Broken(NO_BEGINNING, first[0].seq)
    return Head(seq, digest)


def _changes(row: Row) -> dict[str, tuple[Any, Any]]:
    try:
        return audit.read(row.entry).changes
    except msgspec.MsgspecError:
        return {}
