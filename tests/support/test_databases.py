"""The databases of the fixtures are real, migrated, and each test's own."""

import asyncpg
import pytest

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.models import configs


@pytest.mark.parametrize("_turn", [1, 2])
async def test_each_test_gets_an_empty_database_with_the_newest_schema(settings: Settings, _turn: int) -> None:
    database = open_database(settings)
    try:
        async with database.read() as connection:
            assert await configs.get_all(connection) == {}
        async with database.write() as unit:
            await configs.put(unit.connection, {"ui.name": "left behind?"})
        async with database.read() as connection:
            assert await configs.get_all(connection) == {"ui.name": "left behind?"}
    finally:
        await database.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_the_empty_database_has_no_table(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert str(await connection.fetchval("SHOW server_version")).split(".")[0].isdigit()
    finally:
        await connection.close()
