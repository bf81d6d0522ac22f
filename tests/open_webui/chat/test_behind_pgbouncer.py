"""What a chat needs, through PgBouncer in transaction mode with two connections to PostgreSQL: nothing is set for it."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.migrations import HEAD
from open_webui.migrations.runner import migrate, stored_revision
from open_webui.models import tables
from tests.open_webui.chat.test_flows import (  # noqa: F401 - run here once more
    clever,
    page,
    test_a_new_chat,
    test_continue_extends_the_answer,
    test_regenerate_makes_a_sibling,
)
from tests.open_webui.chat.test_running import (  # noqa: F401
    test_a_stop_at_once_ends_the_answer,
    test_many_answers_at_once,
)
from tests.open_webui.chats.test_portions import (  # noqa: F401
    meter,
    small,
    test_an_import_is_stored_whole,
    test_removing_is_bounded,
)
from tests.open_webui.chats.test_search import test_the_one_search  # noqa: F401

pytestmark = pytest.mark.parametrize("database_kind", ["pgbouncer"], indirect=True)
t = tables.singleton


async def test_no_statement_and_no_limit_stays_on_a_connection(settings: Settings) -> None:
    """Others get it, too."""
    database = open_database(settings)

    async def one(number: int) -> tuple[str, int, int]:
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), {"name": str(number), "value": "v"})
            ask = sa.text(
                "SELECT current_setting('statement_timeout'), count(*), pg_backend_pid() FROM pg_prepared_statements"
            )
            limit, kept, pid = (await unit.connection.execute(ask)).one()
            await asyncio.sleep(0)
            return limit, kept, pid

    found = await asyncio.gather(*(one(number) for number in range(20)))
    assert {limit for limit, _, _ in found} == {"1min"}
    # The one that asks is unnamed, and of the moment.
    assert {kept for _, kept, _ in found} <= {0, 1}
    async with database.read() as connection:
        assert await connection.scalar(sa.text("SHOW transaction_read_only")) == "on"
        assert await connection.scalar(sa.select(sa.func.count()).select_from(t)) == 20
    async with database.look() as connection:
        assert await connection.scalar(sa.text("SHOW statement_timeout")) == "1min", "said in a transaction"
    await database.close()
    plain = open_database(settings.model_copy(update={"database_statement_timeout": 0}))
    async with plain.read() as connection:
        assert await connection.scalar(sa.text("SHOW statement_timeout")) == "0"
    await plain.close()


async def test_a_statement_ends_in_time(settings: Settings) -> None:
    database = open_database(settings.model_copy(update={"database_statement_timeout": 0.05}))
    with pytest.raises(sa.exc.DBAPIError, match="statement timeout"):
        async with database.read() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(30)"))
    await database.close()


async def test_a_migration_goes_through(empty_database_url: str, settings: Settings, tmp_path: Path) -> None:
    given = settings.model_copy(update={"database_url": empty_database_url, "data_dir": tmp_path})
    assert await stored_revision(given) is None
    assert await migrate(given)
    assert not await migrate(given)
    assert await stored_revision(given) == HEAD


async def test_statements_are_kept_where_an_administrator_says_so(settings: Settings) -> None:
    """As is right for a pooler that gives each client a connection of its own."""
    database = open_database(settings.model_copy(update={"database_prepared_statements": True}))
    async with database.read() as connection:
        for _ in range(2):
            await connection.execute(sa.select(t.c.name))
        asked = sa.text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%singleton%'")
        assert await connection.scalar(asked) == 2
    await database.close()
