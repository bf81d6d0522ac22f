"""Lists of any length: PostgreSQL takes 32,767 parameters in a statement, SQLite some more, and neither is a limit here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import (
    chats,
    generations,
    grants,
    group_members,
    presence,
    repository,
    search,
    tables,
    tags,
    turn_updates,
    users,
)
from open_webui.models.base import among

COUNT = 70_000
NUMBERS = range(1, COUNT + 1)
IDS = [f"id-{n}" for n in NUMBERS]


class Owned:
    def __init__(self, user_id: str) -> None:
        self.user_id = user_id


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """With a person and a chat, both called id-7."""
    opened = open_database(settings)
    async with opened.write() as unit:
        await users.insert(unit.connection, {"id": "id-7", "email": "7@example.com", "name": "S", "role": "user"})
        await chats.create(unit.connection, "id-7", title="Seven", body={}, id="id-7")
        group = {"id": "g", "user_id": "id-7", "name": "G", "description": "", "created_at": 1, "updated_at": 1}
        await unit.connection.execute(tables.group.insert(), group)
    yield opened
    await opened.close()


Query = Callable[[AsyncConnection, Collection[str]], Awaitable[Any]]
QUERIES: dict[str, Query] = {
    "users.group_ids": users.group_ids,
    "group_members.add": lambda c, ids: group_members.add(c, "g", ids),
    "group_members.remove": lambda c, ids: group_members.remove(c, "g", ids),
    "presence.standing": presence.standing,
    "presence.revoked_among": presence.revoked_among,
    "presence.owners": presence.owners,
    "turn_updates.existing": turn_updates.existing,
    "turn_updates.authors": lambda c, ids: turn_updates.authors(c, "id-7", ids),
    "tags.of_chats": lambda c, ids: tags.of_chats(c, list(ids)),
    "chats.by_numbers": lambda c, ids: chats.by_numbers(c, range(1, len(ids) + 1)),
    "chats.sign": lambda c, ids: chats.sign(c, Owned("id-7"), [{"role": "user", "user_id": i} for i in ids], {}),  # type: ignore[arg-type]
    "repository.owners_of": lambda c, ids: repository.owners_of(c, None, [Owned(i) for i in ids]),
    "search.previews": lambda c, ids: search.previews(c, list(ids)),
    "grants.of_many": lambda c, ids: grants.of_many(c, "model", ids),
    "grants.clear": lambda c, ids: grants.clear(c, "model", ids),
    "generations.end": lambda c, ids: generations.end(c, list(ids)),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_list_may_be_long(database: Database, name: str) -> None:
    async with database.write() as unit:
        await QUERIES[name](unit.connection, IDS)


async def test_what_is_among_is_found(database: Database) -> None:
    async with database.read() as connection:
        assert await presence.owners(connection, IDS) == {"id-7": "id-7"}
        assert await presence.owners(connection, ["id-8"]) == {}
        assert [chat.title for chat in await chats.by_numbers(connection, NUMBERS)] == ["Seven"]
        chat = tables.chat
        for values, found in ((["id-7"], 1), ([], 0), (["ID-7", 'x"y', "\\", "ü"], 0)):
            assert await connection.scalar(sa.select(sa.func.count()).where(among(chat.c.id, values))) == found
            assert await connection.scalar(sa.select(sa.func.count()).where(~among(chat.c.id, values))) == 1 - found


async def test_a_long_list_is_looked_up_in_the_index(database: Database) -> None:
    asked = sa.select(tables.chat.c.title).where(among(tables.chat.c.id, ["id-7"]))
    async with database.read() as connection:
        if database.is_sqlite:
            compiled = asked.compile(dialect=connection.dialect)
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", ('["id-7"]',))
            assert "USING INDEX" in str(plan.all())
        else:
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            compiled = asked.compile(dialect=connection.dialect)
            plan = await connection.exec_driver_sql(f"EXPLAIN {compiled}", (["id-7"],))
            assert "Index" in str(plan.all())
