"""A database that is closed while a connection is in use closes that one, too."""

import asyncio
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal import db
from open_webui.internal.db import close_connections, open_database


def is_closed(driver: Any) -> bool:
    return driver.is_closed() if isinstance(driver, asyncpg.Connection) else driver._connection is None


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_connection_in_use_is_closed_once_it_is_given_back(settings: Settings) -> None:
    database = open_database(settings)
    async with database.look() as connection:
        await connection.execute(sa.text("SELECT 1"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        closing = asyncio.create_task(close_connections(database._readers))
        # What it closes at once is closed by then; it waits for this one, which goes on.
        await asyncio.sleep(0.1)
        assert not closing.done()
        assert (await connection.execute(sa.text("SELECT 2"))).scalar_one() == 2
    await closing
    assert driver.is_closed()
    await database.close()


async def test_one_that_is_given_back_too_late_to_be_waited_for_is_closed_then(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would rest in a pool that nobody has any more, until the garbage collector finds it open."""
    monkeypatch.setattr(db, "GIVEN_BACK", 0)
    database = open_database(settings)
    async with database.look() as connection:
        await connection.execute(sa.text("SELECT 1"))
        driver = (await connection.get_raw_connection()).driver_connection
        await database.close()
        assert (await connection.execute(sa.text("SELECT 2"))).scalar_one() == 2
    assert is_closed(driver)


async def test_one_that_is_opened_after_the_database_has_been_closed_is_closed_when_it_is_given_back(
    settings: Settings,
) -> None:
    """What follows a commit, or a request that ends with the server, may still read."""
    database = open_database(settings)
    drivers = []
    for _ in range(2):
        await database.close()
        for engine in (database._readers, database._writer):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                drivers.append((await connection.get_raw_connection()).driver_connection)
    assert [is_closed(driver) for driver in drivers] == [True] * 4
