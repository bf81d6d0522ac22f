"""Connections to PostgreSQL: bounded in number and time, recognisable, and right behind a pooler."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal import postgres_connect
from open_webui.internal.db import Database, open_database
from open_webui.internal.db_errors import NO_DATABASE, is_away, sentence
from open_webui.models import tables
from tests.support.live import Live
from tests.support.process import free_port

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
t = tables.singleton
ROW = {"name": "a", "value": "1"}
NAMES = ("application_name", "statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
Open = Callable[..., Database]


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        def make(**changes: Any) -> Database:
            database = open_database(settings.model_copy(update=changes))
            stack.push_async_callback(database.close)
            return database

        yield make


async def said(database: Database) -> list[str]:
    columns = ", ".join(f"current_setting('{name}')" for name in NAMES)
    async with database.read() as connection:
        return list((await connection.execute(sa.text(f"SELECT {columns}"))).one())


async def refusal(work: Awaitable[Any]) -> Exception:
    with pytest.raises((sa.exc.SQLAlchemyError, OSError)) as caught:
        await work
    assert is_away(caught.value), repr(caught.value)
    return caught.value


async def run(database: Database, statement: str) -> Any:
    async with database.write() as unit:
        return await unit.connection.scalar(sa.text(statement))


async def test_a_connection_says_who_it_is_and_has_the_limits_of_the_settings(opened: Open) -> None:
    assert await said(opened()) == ["oui-backend", "1min", "1min", "20s"]
    given = {"statement": 1.5, "idle_transaction": 0, "lock": 0.25}
    changes = {f"database_{name}_timeout": value for name, value in given.items()}
    assert await said(opened(**changes)) == ["oui-backend", "1500ms", "0", "250ms"]


async def test_the_pool_is_bounded_and_who_waits_too_long_is_told(opened: Open) -> None:
    database = opened(database_pool_size=1, database_pool_max_overflow=1, database_pool_timeout=0.05)
    async with database.read(), database.read():
        error = await refusal(run(database, "SELECT 1"))
        assert sentence(error).startswith("More requests want the database at once than there are connections")
    assert await run(database, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("size", "overflow", "pool"),
    [(None, None, (20, 0)), (5, None, (5, 5)), (5, 2, (5, 2)), (5, 0, (5, 0)), (None, 3, (10, 3))],
)
async def test_connections_are_kept_unless_somebody_says_otherwise(
    opened: Open, size: int | None, overflow: int | None, pool: tuple[int, int]
) -> None:
    database = opened(database_pool_size=size, database_pool_max_overflow=overflow)
    kept = database._readers.pool
    assert isinstance(kept, sa.AsyncAdaptedQueuePool)
    assert (kept.size(), kept._max_overflow) == pool


async def test_a_statement_that_takes_too_long_is_ended(opened: Open) -> None:
    database = opened(database_statement_timeout=1.0, database_pool_size=1, database_pool_max_overflow=0)
    error = await refusal(run(database, "SELECT pg_sleep(30)"))
    assert sentence(error).startswith("This took the database longer than it may take.")
    assert await run(database, "SELECT 1") == 1


async def test_a_lock_that_somebody_holds_is_not_waited_for_for_ever(opened: Open) -> None:
    database = opened(database_lock_timeout=1.0)
    async with database.write() as unit:
        await unit.connection.execute(t.insert(), ROW)
        error = await refusal(run(database, "INSERT INTO singleton VALUES ('a', '2')"))
    assert sentence(error).startswith("What this wants to change is being changed by something else")


async def test_a_transaction_in_which_nothing_happens_is_ended(opened: Open) -> None:
    database = opened(database_idle_transaction_timeout=1.0)

    async def linger() -> None:
        async with database.write() as unit:
            await unit.connection.execute(t.insert(), ROW)
            driver: Any = (await unit.connection.get_raw_connection()).driver_connection
            closed = asyncio.Event()
            driver.add_termination_listener(lambda _connection: closed.set())
            await closed.wait()
            await unit.connection.scalar(sa.text("SELECT 1"))

    await refusal(linger())
    assert await run(database, "SELECT count(*) FROM singleton") == 0


async def test_a_server_that_takes_connections_and_says_nothing_is_away(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        error = await refusal(run(opened(database_url=url, database_connect_timeout=0.05), "SELECT 1"))
    assert sentence(error) == NO_DATABASE


async def test_a_server_that_stands_still_in_a_statement_is_not_waited_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its own limits end the statement then: the process that runs it is stopped."""
    monkeypatch.setattr(postgres_connect, "_GRACE_SECONDS", 1.0)
    database = opened(database_statement_timeout=1.0)

    stopped = []

    async def stand_still() -> None:
        async with database.write() as unit:
            stopped.append(await unit.connection.scalar(sa.text("SELECT pg_backend_pid()")))
            os.kill(stopped[0], signal.SIGSTOP)
            await unit.connection.execute(t.insert(), ROW)

    try:
        error = await refusal(stand_still())
        assert sentence(error) == NO_DATABASE
        assert await run(database, "SELECT 1") == 1
    finally:
        os.kill(stopped[0], signal.SIGCONT)


async def test_a_name_with_several_addresses_of_which_none_listens_is_away(opened: Open) -> None:
    """Asyncio joins their errors to one that is no ConnectionError."""
    error = await refusal(run(opened(database_url=f"postgresql://u@localhost:{free_port()}/x"), "SELECT 1"))
    assert sentence(error) == NO_DATABASE


async def test_the_system_watches_over_a_connection(opened: Open) -> None:
    async with opened().read() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        at = driver._transport.get_extra_info("socket")
        assert at.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert at.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_a_request_that_gets_no_connection_is_answered_503(
    make_live: Callable[..., Awaitable[Live]], connections: None
) -> None:
    live = await make_live(database_pool_size=2, database_pool_max_overflow=0)
    async with live.client() as client, live.app.state.oui.database.read(), live.app.state.oui.database.read():
        # From now on: what starts beside waits as long as it does elsewhere.
        live.app.state.oui.database._readers.pool._timeout = 0.05
        reply = await client.post("/api/v1/auths/signin", json={"email": "a@example.com", "password": "x"})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
        assert reply.json()["detail"].startswith("More requests want the database")
    async with live.client() as client:
        assert (await client.get("/ready")).status_code == 200
