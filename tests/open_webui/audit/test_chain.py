"""The chain: whole however many write, found broken wherever somebody has touched it, and whole again without its beginning."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui import administration
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.internal.db import Database, open_database
from open_webui.models import audit, tables
from open_webui.models.audit import Entry, Head, Sealing
from open_webui.services.audit import verify as checks
from open_webui.services.audit.record import Audit, sealing_of
from open_webui.services.audit.retention import DAY, remove_old
from open_webui.services.audit.verify import verify
from tests.support.server import SECRET, Server

t = tables.audit_entry
KEY = sealing_of(SECRET)


@pytest.fixture
async def database(settings: Settings) -> Any:
    opened = open_database(settings)
    yield opened
    await opened.close()


@pytest.fixture
def record(database: Database) -> Audit:
    return Audit(database, "writes", KEY)


async def put(record: Audit, *names: str, sealing: Sealing = KEY) -> None:
    async with record._database.write(aside=True) as unit:
        for name in names:
            text = audit.text_of(Entry(at=int(time.time() * 1000), what=name, action="write", by="me"))
            await audit.add(unit.connection, text, sealing)


async def linked(record: Audit, count: int) -> None:
    await put(record, *(f"entry {k}" for k in range(1, count + 1)))
    await record.link()


async def run(database: Database, *statements: str) -> None:
    async with database.write(aside=True) as unit:
        for statement in statements:
            await unit.connection.execute(sa.text(statement))


async def problem(
    database: Database, noted: Head | None = None, keys: Sequence[Sealing] = (KEY,)
) -> tuple[str | None, int | None]:
    found = await verify(database, keys, noted)
    return found.problem, found.at


SWAP = (
    "UPDATE audit_entry SET seq = 1000 WHERE seq = 4",
    "UPDATE audit_entry SET seq = 4 WHERE seq = 5",
    "UPDATE audit_entry SET seq = 5 WHERE seq = 1000",
)
COPY = "INSERT INTO audit_entry SELECT 11, at, actor_id, actor, action, resource, resource_id, outcome, entry, hash, seal, epoch"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE audit_entry SET entry = replace(entry, 'entry 4', 'entry X') WHERE seq = 4"], (checks.CHANGED, 4)),
        (["UPDATE audit_entry SET actor_id = 'you' WHERE seq = 4"], (checks.COLUMNS, 4)),
        (["UPDATE audit_entry SET at = 1 WHERE seq = 4"], (checks.COLUMNS, 4)),
        (["UPDATE audit_entry SET seal = repeat_ WHERE seq = 4"], (checks.FORGED, 4)),
        (["DELETE FROM audit_entry WHERE seq = 4"], (checks.MISSING, 5)),
        (["DELETE FROM audit_entry WHERE seq = 1"], (checks.NO_BEGINNING, 2)),
        (["DELETE FROM audit_entry WHERE seq < 10"], (checks.NO_BEGINNING, 10)),
        (SWAP, (checks.CHANGED, 4)),
        ([f"{COPY} FROM audit_entry WHERE seq = 10"], (checks.CHANGED, 11)),
        (["UPDATE audit_entry SET epoch = 'other' WHERE seq > 7"], (checks.UNKNOWN_END, 8)),
        # What is sealed later holds what is before it, too.
        (["UPDATE audit_entry SET epoch = 'other' WHERE seq < 7"], (None, None)),
    ],
)
async def test_what_somebody_has_touched_is_found(
    database: Database, record: Audit, statements: list[str], expected: tuple[str | None, int | None]
) -> None:
    await linked(record, 10)
    assert await problem(database) == (None, None)
    await run(database, *(statement.replace("repeat_", f"'{'0' * 64}'") for statement in statements))
    assert await problem(database) == expected


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_end_is_held_by_who_noted_the_head(database: Database, record: Audit) -> None:
    await linked(record, 10)
    head = await record.link()
    await run(database, "DELETE FROM audit_entry WHERE seq > 8")
    assert await problem(database) == (None, None)
    assert await problem(database, head) == (checks.NO_HEAD, 10)
    await linked(record, 2)
    assert await problem(database, head) == (checks.OTHER_HEAD, 10)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_chain_made_anew_without_the_key(database: Database, record: Audit) -> None:
    """Who has the database, and knows how it is made."""
    await linked(record, 10)
    async with database.write(aside=True) as unit:
        rows = await audit.oldest(unit.connection, audit.Filters(), 100)
        last = Head(0, audit.NOTHING)
        for row in rows:
            text = row.entry.replace("entry 4", "entry X")
            made = audit.link_of(audit.read(text), text, last, Sealing(b"a guess", KEY.epoch))
            await unit.connection.execute(
                t.update().where(t.c.seq == row.seq).values(entry=text, hash=made.hash, seal=made.seal)
            )
            last = Head(made.seq, made.hash)
    assert await problem(database) == (checks.FORGED, 1)


async def test_what_somebody_puts_among_those_that_wait_is_told(database: Database, record: Audit) -> None:
    await put(record, "mine")
    await put(record, "forged", sealing=Sealing(b"a guess", "x"))
    await run(database, "INSERT INTO audit_pending (entry, seal) VALUES ('no entry', 'no seal')")
    await record.link()
    async with database.read() as connection:
        rows = await audit.oldest(connection, audit.Filters(), 10)
    assert [row.outcome for row in rows] == ["done", audit.UNSEALED, audit.UNSEALED]
    assert "forged" in rows[1].entry
    assert await problem(database) == (None, None)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_another_secret(database: Database, record: Audit) -> None:
    await linked(record, 3)
    later = Audit(database, "writes", sealing_of("another secret of the server"))
    assert await problem(database, keys=[later.sealing]) == (checks.UNKNOWN_END, 1)
    assert await problem(database, keys=[later.sealing, KEY]) == (None, None)
    async with database.write(aside=True) as unit:
        await audit.add(unit.connection, audit.text_of(Entry(at=1, what="x", action="write")), later.sealing)
    await later.link()
    assert await problem(database, keys=[later.sealing]) == (None, None)


async def test_what_is_too_old_goes(database: Database, record: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PORTION", 4)
    await linked(record, 10)
    assert await remove_old(database, record, 30) == 0
    in_a_year = time.time() + 365 * DAY
    assert await remove_old(database, record, 30, in_a_year) == 10
    found = await verify(database, [KEY])
    # Three portions: each left an entry, and the last one says what the first of those follows.
    assert (found.problem, found.entries, found.first) == (None, 3, 11)
    await linked(record, 2)
    assert await remove_old(database, record, 30, in_a_year) == 5
    found = await verify(database, [KEY])
    assert (found.problem, found.first, found.last) == (None, 16, 17)
    await run(database, "DELETE FROM audit_entry WHERE seq = 16")
    assert await problem(database) == (checks.NO_BEGINNING, 17)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entry SET at = 1", "UPDATE audit_entry SET entry = '{}' WHERE seq = 2"]
)
async def test_nothing_goes_from_a_chain_that_is_broken(database: Database, record: Audit, statement: str) -> None:
    """Who makes entries look old doesn't have them removed."""
    await linked(record, 5)
    await run(database, statement)
    days = 30 if "SET at" in statement else 0
    assert await remove_old(database, record, days, time.time() + 60) == 0
    async with database.read() as connection:
        assert (await audit.head(connection)).seq == 5


async def test_many_append_at_once(settings: Settings, database: Database, record: Audit) -> None:
    """Two processes, as far as the database can tell."""
    other = Audit(open_database(settings), "writes", KEY)
    try:
        for _ in range(5):
            each = [put(one, *(str(k) for k in range(20))) for one in (record, other, record, other)]
            await asyncio.gather(*each, record.link(), other.link(), record.link(), other.link())
        last = await record.link()
    finally:
        await other._database.close()
    found = await verify(database, [KEY])
    assert (found.problem, found.entries, found.last, found.waiting) == (None, 400, last.seq, 0)


async def test_killed_while_it_writes(server: Server, settings: Settings, database: Database) -> None:
    """Whatever was acknowledged has an entry, and the chain is whole."""
    form = {"name": "Admin", "email": "admin@example.com", "password": "a long password"}
    made: list[str] = []
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        token = (await client.post("/api/v1/auths/signup", json=form)).json()["token"]

        async def make(number: int) -> None:
            for k in range(1000):
                body = {"name": f"g{number}-{k}", "description": ""}
                try:
                    reply = await client.post(
                        "/api/v1/groups/create", json=body, headers={"Authorization": f"Bearer {token}"}
                    )
                except httpx.HTTPError:
                    return
                made.append(reply.json()["id"])

        work = asyncio.gather(*(make(k) for k in range(4)))
        while len(made) < 60:  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        await work
    record = Audit(database, "writes", KEY)
    await record.link()
    async with database.read() as connection:
        told = set(await connection.scalars(sa.select(t.c.resource_id).where(t.c.resource == "group")))
        there = set(await connection.scalars(sa.select(tables.group.c.id)))
    assert set(made) <= there == told
    assert (await verify(database, [KEY])).is_whole


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_command(settings: Settings, database: Database) -> None:
    record = Audit(database, "writes", sealing_of(settings.webui_secret_key.get_secret_value()))
    assert await administration.verify_audit(settings, "", "") == "The audit record is empty."
    await put(record, "one", "two", sealing=record.sealing)
    head = await record.link()
    await put(record, "three", sealing=record.sealing)
    said = await administration.verify_audit(settings, f"{head.seq}:{head.hash}", "a former secret")
    assert said == f"The audit record is whole: entries 1 to 2. Its head is 2:{head.hash}. 1 more wait to be linked."
    for wrong in ("2", "x:y", f"{2**80}:{head.hash}", f"2:{head.hash}0"):
        with pytest.raises(BadRequest, match="NUMBER:HASH"):
            await administration.verify_audit(settings, wrong, "")
    await run(database, "UPDATE audit_entry SET entry = 'x' WHERE seq = 2")
    with pytest.raises(administration.BrokenRecord, match="breaks at entry 2") as raised:
        await administration.verify_audit(settings, "", "")
    assert raised.value.exit_code == 3
