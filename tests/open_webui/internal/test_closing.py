"""A database that is closed while a connection is in use closes that one, too."""

import asyncio

import asyncpg
import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal import db
from open_webui.internal.db import close_connections, open_database


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
        await close_connections(database._readers)
        assert (await connection.execute(sa.text("SELECT 2"))).scalar_one() == 2
    if isinstance(driver, asyncpg.Connection):
        assert driver.is_closed()
    else:
        assert driver is not None
        assert driver._connection is None
    await database.close()
