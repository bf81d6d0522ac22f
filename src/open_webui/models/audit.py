"""The audit record's rows: entries that wait, the chain that they are linked into, queries, and what is kept no longer.

Each entry's hash is made of the one before, so that one that is changed, put in, taken out or moved breaks all that follow.
The hash is sealed under a key that is not in the database: who has the database alone can't make the chain whole again.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import among

t, pending = tables.audit_entry, tables.audit_pending
# What the hash before the first entry is.
NOTHING: Final = "0" * 64
# Entries that are linked, read or removed together.
PORTION: Final = 1_000
# Any number that no other lock has.
_LOCK: Final = 0x61756469
UNSEALED: Final = "unsealed"
_LONGEST_FOREIGN: Final = 2_000
ACTION_OF_RETENTION: Final = "remove"
RESOURCE: Final = "audit"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an entry says. The order of the fields is the order in its text, which is never made anew.

    at: milliseconds since the epoch. by, email: the account's id, and its address at that time. via: session, api_key, scim,
    command, job, or "" for who isn't signed in. key: the id of the API key. address: of the client. what: the route,
    event, job or command. id: of the resource. outcome: done, refused, failed (after something was stored), or
    unsealed (it is none of ours). times: how
    often, where one entry stands for several. changes: by field what it was and is. opened: things of other people that an
    administrator's right opened: resource, id, owner. request: the request's id in the log.
    """

    at: int
    by: str = ""
    email: str = ""
    via: str = ""
    key: str = ""
    address: str = ""
    what: str
    action: str
    resource: str = ""
    id: str = ""
    parameters: dict[str, str] = {}
    outcome: str = "done"
    status: int = 0
    times: int = 1
    reason: str = ""
    changes: dict[str, tuple[Any, Any]] = {}
    opened: list[tuple[str, str, str]] = []
    request: str = ""


class Row(msgspec.Struct, frozen=True):
    """A link of the chain."""

    seq: int
    at: int
    actor_id: str
    actor: str
    action: str
    resource: str
    resource_id: str
    outcome: str
    entry: str
    hash: str
    seal: str
    epoch: str


class Head(msgspec.Struct, frozen=True):
    """The last link: its number (0 where there is none), and its hash."""

    seq: int
    hash: str


class Sealing(msgspec.Struct, frozen=True):
    """The key that hashes are sealed under. epoch: what tells it from others."""

    key: bytes
    epoch: str

    def seal(self, digest: str) -> str:
        return hmac.digest(self.key, digest.encode(), "sha256").hex()


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; "" and None for all. actor: an id or an address. since, until: milliseconds; until is not included.

    before, after: numbers, neither included.
    """

    actor: str = ""
    action: str = ""
    resource: str = ""
    resource_id: str = ""
    outcome: str = ""
    since: int | None = None
    until: int | None = None
    before: int | None = None
    after: int | None = None


_columns = [t.c[name] for name in Row.__struct_fields__]
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Entry).decode


def text_of(entry: Entry) -> str:
    return _encode(entry).decode()


def read(text: str) -> Entry:
    """An entry of its text. Raises msgspec.MsgspecError."""
    return _decode(text)


def digest(before: str, seq: int, entry: str) -> str:
    """The hash of a link. before: the hash of the one before."""
    return hashlib.sha256(f"{before}\n{seq}\n{entry}".encode()).hexdigest()


def link_of(entry: Entry, text: str, before: Head, sealing: Sealing) -> Row:
    """An entry as the next link."""
    seq = before.seq + 1
    made = digest(before.hash, seq, text)
    return Row(
        seq=seq, at=entry.at, actor_id=entry.by, actor=entry.email, action=entry.action, resource=entry.resource,
        resource_id=entry.id, outcome=entry.outcome, entry=text, hash=made, seal=sealing.seal(made), epoch=sealing.epoch,
    )  # fmt: skip


# Writing

_wait = Prepared(pending.insert(), columns=["entry", "seal"])
_waiting = Prepared(
    sa.select(pending.c.n, pending.c.entry, pending.c.seal)
    .order_by(pending.c.n)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_head = Prepared(sa.select(t.c.seq, t.c.hash).order_by(t.c.seq.desc()).limit(sa.literal(1)))
_link = Prepared(t.insert(), columns=list(Row.__struct_fields__))


async def add(connection: AsyncConnection, text: str, sealing: Sealing) -> None:
    """Stores an entry in the transaction of what it tells of. It is linked a moment later: that, one at a time does."""
    await _wait.run(connection, {"entry": text, "seal": _alone(text, sealing)})


def _alone(text: str, sealing: Sealing) -> str:
    """The seal of an entry that waits."""
    return sealing.seal(f"waiting\n{text}")


async def lock(connection: AsyncConnection) -> None:
    """Waits until nobody else links or removes. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def head(connection: AsyncConnection) -> Head:
    row = await _head.first(connection, {})
    return Head(0, NOTHING) if row is None else Head(*row)


async def link_some(connection: AsyncConnection, sealing: Sealing, at: int) -> tuple[int, Head]:
    """Links what waits, PORTION at most: how many these were, and the last link. To be called under the lock. at: now."""
    last = await head(connection)
    waiting = await _waiting.all(connection, {"most": PORTION})
    rows = []
    for _, text, seal in waiting:
        is_ours = hmac.compare_digest(_alone(text, sealing), seal)
        entry = read(text) if is_ours else _foreign(text, at)
        rows.append(link_of(entry, text if is_ours else text_of(entry), last, sealing))
        last = Head(rows[-1].seq, rows[-1].hash)
    if rows:
        await _link.run_many(connection, [msgspec.structs.asdict(row) for row in rows])
        # Not "up to the last one": a transaction that has taken a smaller number may have committed just now.
        await connection.execute(pending.delete().where(among(pending.c.n, [n for n, *_ in waiting])))
    return len(rows), last


def _foreign(text: str, at: int) -> Entry:
    """What is said of an entry that waited and has another seal: somebody put it there, or the server's secret is another."""
    return Entry(at=at, what="", action="", outcome=UNSEALED, changes={"entry": (None, text[:_LONGEST_FOREIGN])})


async def append(connection: AsyncConnection, entry: Entry, sealing: Sealing) -> None:
    """Links an entry at once. To be called under the lock."""
    row = link_of(entry, text_of(entry), await head(connection), sealing)
    await _link.run(connection, msgspec.structs.asdict(row))


async def remove_to(connection: AsyncConnection, seq: int) -> None:
    """Removes the beginning of the chain, to this number."""
    await connection.execute(t.delete().where(t.c.seq <= seq))


async def last_removal(connection: AsyncConnection) -> Row | None:
    """The last entry that says that a beginning was removed."""
    about = sa.and_(t.c.action == ACTION_OF_RETENTION, t.c.resource == RESOURCE)
    row = (await connection.execute(sa.select(*_columns).where(about).order_by(t.c.seq.desc()).limit(1))).first()
    return None if row is None else Row(*row)


# Reading


def _matching(filters: Filters) -> "list[sa.ColumnElement[bool]]":
    equal = {"action": filters.action, "resource": filters.resource, "resource_id": filters.resource_id}
    out: list[sa.ColumnElement[bool]] = [
        t.c[name] == value for name, value in (equal | {"outcome": filters.outcome}).items() if value
    ]
    if filters.actor:
        out.append(sa.or_(t.c.actor_id == filters.actor, t.c.actor == filters.actor.lower()))
    if filters.since is not None:
        out.append(t.c.at >= filters.since)
    if filters.until is not None:
        out.append(t.c.at < filters.until)
    if filters.before is not None:
        out.append(t.c.seq < filters.before)
    if filters.after is not None:
        out.append(t.c.seq > filters.after)
    return out


async def newest(connection: AsyncConnection, filters: Filters, limit: int) -> list[Row]:
    """Some links, the newest first."""
    query = sa.select(*_columns).where(*_matching(filters)).order_by(t.c.seq.desc()).limit(limit)
    return [Row(*row) for row in await connection.execute(query)]


async def oldest(connection: AsyncConnection, filters: Filters, limit: int) -> list[Row]:
    """Some links, the oldest first."""
    query = sa.select(*_columns).where(*_matching(filters)).order_by(t.c.seq).limit(limit)
    return [Row(*row) for row in await connection.execute(query)]


async def chain(connection: AsyncConnection) -> AsyncIterator[Sequence[Row]]:
    """The whole chain from its beginning, in portions."""
    after = -1
    while rows := await oldest(connection, Filters(after=after), PORTION):
        after = rows[-1].seq
        yield rows


async def count_waiting(connection: AsyncConnection) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(pending)) or 0)
