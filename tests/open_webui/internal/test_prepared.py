"""Prepared statements: what they store and give is what SQLAlchemy would, on both databases."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.internal.prepared import Prepared
from open_webui.models import tables

t, user = tables.singleton, tables.user
INSERT = Prepared(t.insert(), ["name", "value"])
GIVING = Prepared(t.insert().returning(t.c.name), ["name", "value"])
ALL = Prepared(sa.select(t.c.name, t.c.value).order_by(t.c.name))
NAMED = Prepared(sa.select(t.c.value).where(t.c.name == sa.bindparam("wanted")).limit(1))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings)
    yield opened
    await opened.close()


async def everything(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        return {row[0]: row[1] for row in await ALL.all(connection, {})}


async def test_rows_go_in_one_by_one_and_many_at_a_time(database: Database) -> None:
    async with database.write() as unit:
        await INSERT.run(unit.connection, {"name": "a", "value": "1"})
        await INSERT.run_many(unit.connection, [{"name": n, "value": "2"} for n in "bc"])
        given = await GIVING.first(unit.connection, {"name": "d", "value": "3"})
    assert given is not None
    assert given[0] == "d"
    assert await everything(database) == {"a": "1", "b": "2", "c": "2", "d": "3"}
    async with database.read() as connection:
        found = await NAMED.first(connection, {"wanted": "a"})
        assert found is not None
        assert found[0] == "1"
        assert await NAMED.first(connection, {"wanted": "nobody"}) is None


async def test_an_error_is_sqlalchemys_and_takes_the_unit_back(database: Database) -> None:
    async def twice() -> None:
        async with database.write() as unit:
            await INSERT.run(unit.connection, {"name": "a", "value": "1"})
            await INSERT.run(unit.connection, {"name": "a", "value": "2"})

    with pytest.raises(sa.exc.IntegrityError):
        await twice()
    assert await everything(database) == {}


async def test_a_value_that_is_missing_is_named_and_nothing_is_stored(database: Database) -> None:
    async def work() -> None:
        async with database.write() as unit:
            await INSERT.run(unit.connection, {"name": "a"})

    with pytest.raises(KeyError, match="value"):
        await work()
    assert await everything(database) == {}


async def test_what_travels_together_is_stored_with_the_rest(database: Database) -> None:
    async with database.write() as unit:
        with unit.together():
            await INSERT.run(unit.connection, {"name": "a", "value": "1"})
            await INSERT.run_many(unit.connection, [{"name": "b", "value": "2"}])
        assert len(await ALL.all(unit.connection, {})) == 2
    assert await everything(database) == {"a": "1", "b": "2"}


async def test_a_reader_sees_one_snapshot_with_statements_of_both_kinds(database: Database) -> None:
    async with database.read() as connection:
        assert await ALL.all(connection, {}) == []
        async with database.write() as unit:
            await INSERT.run(unit.connection, {"name": "a", "value": "1"})
        assert await ALL.all(connection, {}) == []
        assert (await connection.execute(sa.select(t.c.name))).all() == []
    assert await everything(database) == {"a": "1"}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("said", "kept"), [(True, True), (False, False), (None, True)])
async def test_statements_stay_on_a_connection_unless_a_pooler_forbids_it(
    settings: Settings, said: bool | None, kept: bool
) -> None:
    database = open_database(settings.model_copy(update={"database_prepared_statements": said}))
    for _ in range(3):
        async with database.write() as unit:
            await INSERT.run_many(unit.connection, [{"name": "a", "value": "1"}])
            await unit.connection.execute(t.delete().where(t.c.name == "a"))
            assert await ALL.all(unit.connection, {}) == []
            asked = sa.text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%singleton%'")
            found = await unit.connection.scalar(asked)
    await database.close()
    # Its own question names the table, too.
    assert found == (4 if kept else 0)


async def test_json_and_truth_are_stored_as_sqlalchemy_stores_them(database: Database) -> None:
    chat = tables.chat
    names = ["id", "user_id", "title", "body", "meta", "variables", "tasks", "archived", "created_at", "updated_at"]
    insert = Prepared(chat.insert().returning(chat.c.n), names)
    values = {
        "user_id": "u", "title": "T", "body": {"k": ["ü", None]}, "meta": {}, "variables": None, "tasks": None,
        "archived": True, "created_at": 1, "updated_at": 2,
    }  # fmt: skip
    async with database.write() as unit:
        account = {"id": "u", "email": "u@example.com", "name": "U", "role": "user"}
        await unit.connection.execute(user.insert(), account | {"created_at": 1, "updated_at": 1, "last_active_at": 1})
        await insert.first(unit.connection, values | {"id": "prepared"})
        await unit.connection.execute(chat.insert(), values | {"id": "plain"})
    columns = [chat.c[name] for name in names if name != "id"]
    raw = [sa.cast(c, sa.Text) for c in (chat.c.variables, chat.c.tasks)]
    async with database.read() as connection:
        one, other = (await connection.execute(sa.select(*columns, *raw).order_by(chat.c.id))).all()
    assert one == other
