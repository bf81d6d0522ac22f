"""SQLite's connections for reading: used by one at a time, left clean, closed with the database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal import readers
from open_webui.internal.db import Database, open_database
from open_webui.internal.prepared import driver_of

_MAKE = sa.text("CREATE TABLE thing (n INTEGER)")
_ADD = sa.text("INSERT INTO thing VALUES (1)")
_COUNT = sa.text("SELECT count(*) FROM thing")
# As long as it takes: a cancellation ends it.
_ENDLESS = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(Settings(env="test", data_dir=tmp_path))
    async with opened.write() as unit:
        await unit.connection.execute(_MAKE)
    yield opened
    await opened.close()


async def add(database: Database) -> None:
    async with database.write() as unit:
        await unit.connection.execute(_ADD)


async def count(connection: Any) -> int:
    return int(await connection.scalar(_COUNT))


async def test_a_connection_is_used_again_and_each_use_begins_anew(database: Database) -> None:
    seen = []
    for number in range(3):
        async with database.read() as connection:
            seen.append(driver_of(connection))
            assert await count(connection) == number
            await add(database)
            # All of a use's statements see the same state.
            assert await count(connection) == number
        async with database.look() as connection:
            seen.append(driver_of(connection))
            assert await count(connection) == number + 1
            await add(database)
            assert await count(connection) == number + 2
        async with database.write() as unit:
            await unit.connection.execute(sa.text("DELETE FROM thing WHERE rowid = (SELECT max(rowid) FROM thing)"))
    assert len(set(seen)) == 1


async def test_a_use_that_fails_leaves_nothing_for_the_next(database: Database) -> None:
    for _ in range(20):
        with pytest.raises(sa.exc.OperationalError):
            async with database.read() as connection:
                await connection.execute(sa.text("SELECT nothing FROM nowhere"))
        with pytest.raises(sa.exc.OperationalError):
            # It can't write, either.
            async with database.read() as connection:
                await connection.execute(_ADD)
    async with database.read() as connection:
        assert await count(connection) == 0
    await add(database)
    async with database.read() as connection:
        assert await count(connection) == 1


async def test_who_is_cancelled_gives_the_connection_back(database: Database) -> None:
    async def read(begun: asyncio.Event) -> None:
        async with database.read() as connection:
            begun.set()
            await connection.execute(_ENDLESS)

    for _ in range(10):
        begun = asyncio.Event()
        task = asyncio.create_task(read(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await add(database)
    async with database.read() as connection:
        assert await count(connection) == 1


async def test_more_than_there_are_wait_and_no_longer_than_they_should(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, is_full, busy = asyncio.Event(), asyncio.Event(), []

    async def hold() -> int:
        async with database.look() as connection:
            busy.append(1)
            if database._kept is not None and database._kept._free.locked():
                is_full.set()
            await let_go.wait()
            return await count(connection)

    holding = [asyncio.create_task(hold()) for _ in range(40)]
    await is_full.wait()
    monkeypatch.setattr(readers, "PATIENCE", 0.01)
    with pytest.raises(ConnectionError, match="busy"):
        async with database.look():
            pass
    held = len(busy)
    let_go.set()
    assert await asyncio.gather(*holding) == [0] * 40
    assert held < 40
    assert database._kept is not None
    assert database._kept.resting <= held


async def test_one_that_was_closed_meanwhile_is_not_kept(database: Database) -> None:
    assert database._kept is not None
    async with database.look() as connection:
        await count(connection)
        await connection.invalidate()
    assert database._kept.resting == 0
    async with database.look() as connection:
        assert await count(connection) == 0
    assert database._kept.resting == 1
