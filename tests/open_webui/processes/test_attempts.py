"""Limits on attempts over several processes: exact, by the database's clock, and nothing old is kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import TooManyRequests
from open_webui.internal.db import Database, open_database
from open_webui.models import tables
from open_webui.services.attempts import PER_ACCOUNT, PER_ADDRESS, WINDOW_SECONDS, SharedSignInAttempts
from tests.support.live import Actor, Live

t = tables.attempt
PLACE, EMAIL = "192.0.2.1", "ann@example.com"


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[list[SharedSignInAttempts]]:
    """Those of two processes."""
    databases = [open_database(settings) for _ in range(2)]
    yield [SharedSignInAttempts(database) for database in databases]
    for database in databases:
        await database.close()


async def counted(tries: list[Awaitable[None]]) -> int:
    """How many of them were let through."""
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert all(isinstance(result, TooManyRequests) for result in refused), refused
    return len(results) - len(refused)


async def let_pass(database: Database, seconds: float) -> None:
    """Makes all attempts so much older."""
    async with database.write() as unit:
        for row in (await unit.connection.execute(sa.select(t))).all():
            older = {"times": [one - seconds for one in row.times], "at": row.at - seconds}
            await unit.connection.execute(t.update().where(t.c.key == row.key).values(older))


@pytest.mark.parametrize(
    ("limit", "attempt"),
    [
        (PER_ACCOUNT, lambda attempts, _n: attempts.sign_in(PLACE, EMAIL)),
        (PER_ADDRESS, lambda attempts, n: attempts.sign_in(PLACE, f"{n}@example.com")),
        (PER_ADDRESS, lambda attempts, _n: attempts.sign_up(PLACE)),
        (PER_ACCOUNT, lambda attempts, _n: attempts.change_password("ann")),
    ],
    ids=["account", "address", "sign-up", "password"],
)
async def test_limits_are_exact_over_processes(
    pair: list[SharedSignInAttempts],
    limit: int,
    attempt: Callable[[SharedSignInAttempts, int], Awaitable[None]],
) -> None:
    assert await counted([attempt(pair[n % 2], n) for n in range(limit - 3)]) == limit - 3
    assert await counted([attempt(pair[n % 2], n) for n in range(8)]) == 3


async def test_the_window_slides(pair: list[SharedSignInAttempts]) -> None:
    one, two = pair
    for _ in range(PER_ACCOUNT - 1):
        await one.change_password("ann")
    await let_pass(one._database, 100)
    await two.change_password("ann")
    with pytest.raises(TooManyRequests) as refused:
        await one.change_password("ann")
    seconds = int((refused.value.headers or {})["Retry-After"])
    assert WINDOW_SECONDS - 110 < seconds <= WINDOW_SECONDS - 100
    await two.change_password("bob")
    await let_pass(one._database, seconds)
    assert await counted([pair[n % 2].change_password("ann") for n in range(PER_ACCOUNT)]) == PER_ACCOUNT - 1


async def test_what_has_passed_is_removed(pair: list[SharedSignInAttempts]) -> None:
    one, _ = pair
    for n in range(20):
        await one.sign_in(PLACE, f"{n}@example.com")
    await let_pass(one._database, WINDOW_SECONDS)
    one._clean_at = 0.0
    await one.change_password("ann")
    async with one._database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(t)) == 1


async def test_who_guesses_at_two_processes_guesses_no_more_often(live: Live, second: Live, admin: Actor) -> None:
    statuses = []
    async with live.client() as here, second.client() as there:
        for n in range(PER_ACCOUNT + 4):
            form = {"email": admin.email, "password": "wrong"}
            reply = await (here, there)[n % 2].post("/api/v1/auths/signin", json=form)
            statuses.append(reply.status_code)
    assert statuses == [400] * PER_ACCOUNT + [429] * 4
    assert 0 < int(reply.headers["retry-after"]) <= WINDOW_SECONDS
