"""Usage summed by day: the sums are those of the rows, whoever adds them, and outlive the user."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import activity, tables, usages, users
from open_webui.models.usages import DAY
from tests.support.interleaving import both

row, day = tables.usage.c, tables.usage_day.c
KEYS = ("user_id", "day", "model_id", "connection", "kind")
COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
# Where the first of two is stopped: before its statement of this number.
STOPS = range(3)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings)
    yield opened
    await opened.close()


def used(at: int = 0, **values: Any) -> dict[str, Any]:
    plain = {"user_id": "ann", "model_id": "m", "connection": "openai:0", "kind": "chat", "chat_id": None,
             "message_id": None, "status": 200, "duration_ms": 3, "created_at": at}  # fmt: skip
    return plain | dict.fromkeys(COUNTS) | values


def some(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Calls as they come: of a few people, models and days, some failed, some without counts."""
    return [
        used(
            chance.choice((0, 1, DAY - 1, DAY, 3 * DAY + 5, 9 * DAY)),
            user_id=chance.choice(("ann", "bob")),
            model_id=chance.choice(("m", "n", "n'2")),
            connection=chance.choice(("openai:0", "local")),
            kind=chance.choice(("chat", "api", "task", "embedding")),
            status=chance.choice((200, 200, 400, 429, 499, 500, 502)),
            duration_ms=chance.randrange(2**31),
            **{name: chance.choice((None, 0, 7, 2**31 - 1)) for name in COUNTS},
        )
        for _ in range(count)
    ]


async def add(database: Database, *rows: dict[str, Any]) -> None:
    async with database.write() as unit:
        await usages.add(unit.connection, list(rows))


async def sums(database: Database) -> list[tuple[Any, ...]]:
    """All rows of `usage_day`, which are those of the rows that were added."""
    failed = sa.case((sa.and_(row.status >= 400, row.status != 499), 1), else_=0)
    from_rows = (
        sa.select(
            row.user_id, (row.created_at // sa.literal_column(str(DAY))).label("day"), row.model_id, row.connection,
            row.kind, sa.func.count(), sa.func.sum(failed),
            *(sa.func.sum(sa.func.coalesce(row[name], 0)) for name in (*COUNTS, "duration_ms")),
        )
        .group_by(*(sa.literal_column(str(n)) for n in range(1, 6)))
    )  # fmt: skip
    kept = sa.select(*(day[name] for name in (*KEYS, "calls", "errors", *COUNTS, "duration_ms")))
    async with database.read() as connection:
        there = sorted(tuple(r) for r in await connection.execute(kept))
        assert there == sorted(tuple(r) for r in await connection.execute(from_rows))
    return there


@pytest.mark.parametrize("seed", range(3))
async def test_the_sums_are_those_of_the_rows(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(8):
        await add(database, *some(chance, chance.choice((1, 2, 30))))
    assert len(await sums(database)) > 20
    # What a report reads of them is what it would read of the rows, from any second to any other.
    for start, end in [
        (0, 0),
        (0, DAY - 1),
        (0, DAY),
        (1, 2 * DAY),
        (DAY - 1, DAY),
        (1, 9 * DAY),
        (5, 9 * DAY - 1),
        (0, 99 * DAY),
    ]:
        async with database.read() as connection:
            found = await activity.tokens(connection, "ann", start, end)
            at = row.created_at // sa.literal_column(str(DAY))
            rows = await connection.execute(
                sa.select(at, row.model_id, *(sa.func.coalesce(sa.func.sum(row[c]), 0) for c in COUNTS[:2]))
                .where(row.user_id == "ann", row.created_at.between(start, end)).group_by(at, row.model_id)
            )  # fmt: skip
            expected = sorted(tuple(r) for r in rows)
        assert sorted((f.day, f.model_id, f.input, f.output) for f in found) == expected, (start, end)
        assert all(type(f.input) is int for f in found)


async def test_a_call_without_counts_is_a_call(database: Database) -> None:
    await add(database, used(status=502), used(status=499), used(prompt_tokens=7))
    assert await sums(database) == [("ann", 0, "m", "openai:0", "chat", 3, 1, 7, 0, 0, 0, 9)]


async def test_sums_outlive_their_user(database: Database) -> None:
    async with database.write() as unit:
        await users.insert(unit.connection, {"id": "ann", "name": "A", "email": "a@example.com", "role": "user"})
        await usages.add(unit.connection, [used(prompt_tokens=7)])
    async with database.write() as unit:
        await unit.connection.execute(tables.user.delete())
    await add(database, used(prompt_tokens=1))
    assert [r[5:8] for r in await sums(database)] == [(2, 0, 8)]


async def test_what_is_rolled_back_is_in_no_sum(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as unit:
            await usages.add(unit.connection, [used()])
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    with pytest.raises(sa.exc.SQLAlchemyError):
        await add(database, used(), used(kind=None) if database.is_sqlite else used(kind="\x00"))
    assert await sums(database) == []


@pytest.mark.parametrize("stop_at", STOPS)
async def test_two_at_once_lose_nothing_and_wait_in_no_circle(database: Database, stop_at: int) -> None:
    """Both name the same rows, in opposite orders."""
    rows = [used(user_id=user, model_id=model) for user in ("ann", "bob") for model in ("m", "n")]
    assert usages._by_day(rows) == usages._by_day(rows[::-1])
    for result in await both(database, lambda: add(database, *rows), lambda: add(database, *rows[::-1]), stop_at):
        assert result is None
    assert [r[5] for r in await sums(database)] == [2] * 4


async def test_two_processes_add_to_one_day(database: Database, settings: Settings) -> None:
    there = open_database(settings)
    chances = [random.Random(n) for n in range(4)]
    await asyncio.gather(
        *(add(where, *some(chance, 20)) for chance in chances for where in (database, there) for _ in range(3))
    )
    await there.close()
    assert sum(r[5] for r in await sums(database)) == 480
