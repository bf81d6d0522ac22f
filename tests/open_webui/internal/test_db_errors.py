"""An error of the database is told as what it is: away (503), a value of the caller's (400), or a bug (500)."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.chat import journal
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.internal.db_errors import is_away, is_unstorable
from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from tests.support.process import free_port

chat, t = tables.chat, tables.singleton
NAMED = Prepared(sa.select(t.c.value).where(t.c.name == sa.bindparam("name")))
OF_TIME = Prepared(sa.select(chat.c.id).where(chat.c.updated_at == sa.bindparam("at")))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings.model_copy(update={"database_sqlite_pragma_busy_timeout": 0}))
    yield opened
    await opened.close()


async def error_of(database: Database, statement: Any, values: Any = None) -> Exception:
    async def work() -> None:
        async with database.write() as unit:
            if isinstance(statement, Prepared):
                await statement.all(unit.connection, values)
            else:
                await unit.connection.execute(statement)

    with pytest.raises((sa.exc.SQLAlchemyError, OverflowError, OSError)) as caught:
        await work()
    return caught.value


@pytest.mark.parametrize(
    "statement",
    [
        sa.text("SELEC 1"),
        sa.text("SELECT 1 FROM nothing_of_this_name"),
        sa.select(chat.c.id).where(chat.c.id.in_([str(n) for n in range(300_000)])),
        t.insert().values(name="n"),
    ],
    ids=["syntax", "no such table", "too many parameters", "a value is missing"],
)
async def test_a_statement_that_is_wrong_is_a_bug(database: Database, statement: Any) -> None:
    error = await error_of(database, statement)
    assert (is_away(error), is_unstorable(error)) == (False, False), repr(error)
    # The journal would try it for ever.
    assert journal.is_unstorable(error)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (sa.select(chat.c.id).where(chat.c.updated_at == 2**70), None),
        (OF_TIME, {"at": -(2**70)}),
    ],
)
async def test_a_number_that_no_database_holds_is_the_callers(database: Database, statement: Any, values: Any) -> None:
    error = await error_of(database, statement, values)
    assert (is_away(error), is_unstorable(error)) == (False, True), repr(error)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["\x00", "\ud800"])
async def test_a_text_that_postgresql_does_not_hold_is_the_callers(database: Database, name: str) -> None:
    for error in (
        await error_of(database, sa.select(t.c.value).where(t.c.name == name)),
        await error_of(database, NAMED, {"name": name}),
    ):
        assert (is_away(error), is_unstorable(error)) == (False, True), repr(error)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_locked_file_is_away(database: Database, database_url: str) -> None:
    other = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for error in (await error_of(database, t.delete()), await error_of(database, NAMED, {"name": "x"})):
        assert (is_away(error), is_unstorable(error)) == (True, False), repr(error)
        assert not journal.is_unstorable(error)
    other.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statement", [sa.text("SELECT 1"), NAMED], ids=["plain", "prepared"])
async def test_a_server_that_ends_the_connection_is_away(database: Database, statement: Any) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        async with database.write() as unit:
            mine = await unit.connection.scalar(sa.text("SELECT pg_backend_pid()"))
            async with database.write() as other:
                await other.connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
            ended.set()
            if isinstance(statement, Prepared):
                await statement.all(unit.connection, {"name": "x"})
            else:
                await unit.connection.execute(statement)

    with pytest.raises(sa.exc.DBAPIError) as caught:
        await work()
    assert ended.is_set()
    assert (is_away(caught.value), is_unstorable(caught.value)) == (True, False), repr(caught.value)
    # The next unit gets another connection.
    async with database.write() as unit:
        assert await unit.connection.scalar(sa.text("SELECT 1")) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_nobody_who_listens_is_away(settings: Settings) -> None:
    nowhere = f"postgresql://u@127.0.0.1:{free_port()}/x"
    database = open_database(settings.model_copy(update={"database_url": nowhere}))
    error = await error_of(database, sa.text("SELECT 1"))
    assert (is_away(error), is_unstorable(error)) == (True, False), repr(error)
    await database.close()
