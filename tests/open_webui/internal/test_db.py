"""Units of work: all or nothing, in turn, with what follows the commit; the same on both databases."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import Database, database_url, open_database
from open_webui.models import tables

t = tables.singleton


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings)
    yield opened
    await opened.close()


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted(await connection.scalars(sa.select(t.c.name)))


def row(name: str) -> dict[str, str]:
    return {"name": name, "value": "v"}


async def test_a_unit_of_work_commits_at_its_end_and_tells_afterwards(database: Database) -> None:
    told = []

    async def tell() -> None:
        told.append(await names(database))

    async with database.write() as unit:
        unit.after_commit(tell)
        await unit.connection.execute(t.insert(), row("a"))
        assert told == []
    assert told == [["a"]]


async def test_one_that_fails_leaves_nothing_and_tells_nobody(database: Database) -> None:
    async def tell() -> None:
        raise AssertionError("told about what did not happen")

    async def work() -> None:
        async with database.write() as unit:
            unit.after_commit(tell)
            await unit.connection.execute(t.insert(), row("a"))
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert await names(database) == []


async def test_one_that_is_cancelled_leaves_nothing_and_the_next_goes_on(database: Database) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), row("a"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as unit:
        await unit.connection.execute(t.insert(), row("b"))
    assert await names(database) == ["b"]


async def test_nothing_at_all_may_be_done(database: Database) -> None:
    async with database.write(), database.read():
        pass
    assert await names(database) == []


async def test_writers_take_turns_and_readers_see_the_last_commit(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.write() as unit:
            count = await unit.connection.scalar(sa.select(sa.func.count()).select_from(t))
            if database.is_sqlite:
                # PostgreSQL lets them run side by side; SQLite's writers see each other's work.
                assert count == len(done)
            await unit.connection.execute(t.insert(), row(f"n{number:02}"))
            done.append(number)

    done: list[int] = []
    await asyncio.gather(*(write(n) for n in range(30)), *(names(database) for _ in range(30)))
    assert len(await names(database)) == 30


async def test_what_is_read_is_one_snapshot(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(t)
    async with database.read() as connection:
        assert await connection.scalar(count) == 0
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), row("a"))
        assert await connection.scalar(count) == 0
    # The next one begins anew, on the same connection.
    assert await names(database) == ["a"]


async def test_who_looks_sees_the_last_commit_with_each_statement(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(t)
    async with database.look() as connection:
        assert await connection.scalar(count) == 0
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), row("a"))
        assert await connection.scalar(count) == 1
    # Not what the connection is for ever.
    async with database.read() as connection:
        assert await connection.scalar(count) == 1
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), row("b"))
        assert await connection.scalar(count) == 1


async def test_who_reads_does_not_write(database: Database) -> None:
    async def work() -> None:
        async with database.read() as connection:
            await connection.execute(t.insert(), row("a"))

    with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
        await work()
    # Not what the connection is for ever, where one pool serves both.
    for name in "bc":
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), row(name))
        assert name in await names(database)


async def test_writes_that_travel_together_are_all_there_and_in_order(database: Database) -> None:
    async with database.write() as unit:
        with unit.together():
            await unit.connection.execute(t.insert(), row("a"))
            await unit.connection.execute(t.insert(), [row("b"), row("c")])
            await unit.connection.execute(t.update().where(t.c.name == "a").values(value="changed"))
            # A question in between sees them.
            assert await unit.connection.scalar(sa.select(t.c.value).where(t.c.name == "a")) == "changed"
            await unit.connection.execute(t.delete().where(t.c.name == "c"))
    assert await names(database) == ["a", "b"]


async def test_an_error_among_them_undoes_all(database: Database) -> None:
    async def work() -> None:
        async with database.write() as unit:
            with unit.together():
                for name in "aab":
                    await unit.connection.execute(t.insert(), row(name))

    with pytest.raises(sa.exc.IntegrityError):
        await work()
    assert await names(database) == []
    async with database.write() as unit:
        await unit.connection.execute(t.insert(), row("b"))
    assert await names(database) == ["b"]


async def test_what_travels_together_is_dropped_with_its_unit(database: Database) -> None:
    async def work() -> None:
        async with database.write() as unit:
            with unit.together():
                await unit.connection.execute(t.insert(), row("a"))
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert await names(database) == []


async def test_after_an_error_that_ended_the_transaction_nothing_more_is_stored(database: Database) -> None:
    # Any error ends it on PostgreSQL; on SQLite this conflict does, and a full disk.
    insert = t.insert().prefix_with("OR ROLLBACK", dialect="sqlite")

    async def work() -> None:
        async with database.write() as unit:
            await unit.connection.execute(insert, row("a"))
            with pytest.raises(sa.exc.IntegrityError):
                await unit.connection.execute(insert, row("a"))
            with pytest.raises(sa.exc.DBAPIError):
                await unit.connection.execute(insert, row("b"))

    with contextlib.suppress(sa.exc.DBAPIError):
        await work()
    assert await names(database) == []
    async with database.write() as unit:
        await unit.connection.execute(insert, row("c"))
    assert await names(database) == ["c"]


async def test_what_follows_is_all_done_and_fails_nobody(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    async def fail() -> None:
        raise KeyError("told nobody")

    async def tell() -> None:
        told.append(await names(database))

    async with database.write() as unit:
        unit.after_commit(fail)
        unit.after_commit(tell)
        await unit.connection.execute(t.insert(), row("a"))
    assert told == [["a"]]
    assert "told nobody" in caplog.text


async def test_foreign_keys_are_kept(database: Database) -> None:
    orphan = {"user_id": "nobody", "password_hash": None, "active": True, "session_stamp": "s"}

    async def work() -> None:
        async with database.write() as unit:
            await unit.connection.execute(tables.credential.insert(), orphan)

    with pytest.raises(sa.exc.IntegrityError):
        await work()


@pytest.mark.parametrize(
    ("given", "driver", "name"),
    [
        ("", "sqlite+aiosqlite", "data/webui.db"),
        ("sqlite:///./x.db", "sqlite+aiosqlite", "./x.db"),
        ("sqlite:////tmp/x.db", "sqlite+aiosqlite", "/tmp/x.db"),
        ("postgres://u:p@h/n", "postgresql+asyncpg", "n"),
        ("postgresql://u:p@h:5433/n?sslmode=require", "postgresql+asyncpg", "n"),
        ("postgresql+psycopg2://u@h/n", "postgresql+asyncpg", "n"),
    ],
)
def test_addresses_as_people_write_them(given: str, driver: str, name: str) -> None:
    url = database_url(Settings(_env_file=None, database_url=given))
    assert (url.drivername, url.database) == (driver, name)


@pytest.mark.parametrize("given", ["mysql://h/n", "sqlite://", "postgresql://h", "not an address", "://", "sqlite"])
def test_addresses_that_are_none(given: str) -> None:
    with pytest.raises(StartupError, match="DATABASE_URL"):
        database_url(Settings(_env_file=None, database_url=given))


COUNTING = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) SELECT max(i) FROM n
"""


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_no_thread_of_a_closed_database_is_left(settings: Settings) -> None:
    """One that ends later tells a loop that is gone, which prints a traceback."""
    before = set(threading.enumerate())
    database = open_database(settings)

    async def look() -> None:
        async with database.read() as connection:
            await connection.execute(sa.text(COUNTING))

    looking = [asyncio.create_task(look()) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in looking:
        task.cancel()
    await asyncio.wait(looking)
    await database.close()
    assert not [thread for thread in threading.enumerate() if thread not in before and "connection" in thread.name]
