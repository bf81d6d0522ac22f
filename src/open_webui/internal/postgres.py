"""asyncpg, asked directly: a statement costs half of what it costs by way of SQLAlchemy, which keeps transactions and errors."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

# Of connecting: no statement is kept on a connection, neither by asyncpg nor by SQLAlchemy. For poolers that hand a
# transaction to any connection.
UNPREPARED: Final = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}
# PostgreSQL's limits of time for a transaction.
LIMITS: Final = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
# A connection that has rested for longer is asked whether it still is one. One that was closed is known without a question.
_REST_SECONDS: Final = 5.0
_RESTED_SINCE: Final = "rested_since"


async def run_directly(connection: AsyncConnection, sql: str, parameters: Any, *, many: bool) -> Sequence[Any]:
    """Runs one statement in the connection's transaction, which it begins if need be; gives its rows, of many none.

    Raises SQLAlchemy's errors. As with SQLAlchemy's own, a connection whose statement is cancelled is thrown away.
    """
    adapted = _adapted(connection)
    try:
        if adapted._transaction is None:  # noqa: SLF001 - SQLAlchemy begins with its own first statement
            await adapted._start_transaction()  # noqa: SLF001
        driver = adapted.driver_connection
        if many:
            await driver.executemany(sql, parameters)
            return []
        rows: Sequence[Any] = await driver.fetch(sql, *parameters)
        return rows
    except (Exception, asyncio.CancelledError) as error:
        await connection.run_sync(_raise, adapted, error, sql, parameters)
        raise


def _raise(connection: sa.Connection, adapted: Any, error: BaseException, sql: str, parameters: Any) -> NoReturn:
    """What SQLAlchemy does with an error of the driver: translates it, and invalidates a connection that is none any more."""
    try:
        if isinstance(error, Exception):
            adapted._handle_exception(error)  # noqa: SLF001 - as its own cursor does
        raise error
    except BaseException as raised:  # noqa: BLE001 - raised again, by SQLAlchemy
        connection._handle_dbapi_exception(raised, sql, parameters, None, None)  # noqa: SLF001 - as its own execution does
    raise AssertionError("unreachable")


def _adapted(connection: AsyncConnection) -> Any:
    """SQLAlchemy's connection around asyncpg's."""
    assert connection.sync_connection is not None
    return connection.sync_connection.connection.dbapi_connection


async def without_limits(connection: AsyncConnection) -> None:
    """What runs in this transaction may take as long as it takes, whatever the database says for its accounts."""
    for name in LIMITS:
        await connection.execute(sa.text(f"SET LOCAL {name} = 0"))


def read_one_snapshot(connection: AsyncConnection) -> None:
    """All statements of the coming transaction see the same state of the database, and none may write."""
    adapted = _adapted(connection)
    adapted.isolation_level, adapted.readonly = "repeatable_read", True


def read_last_commit(connection: AsyncConnection) -> None:
    """Each statement to come sees the last commit, without a transaction: two messages less than `read_one_snapshot`.

    Behind a pooler there is one all the same: it says the limits of time.
    """
    adapted = _adapted(connection)
    if hasattr(adapted.driver_connection, "limits"):
        read_one_snapshot(connection)
    else:
        adapted.isolation_level = "autocommit"


def watch_pool(engine: sa.Engine) -> None:
    """Sees to it that a connection out of the pool is open, and as it was when it was new."""
    sa.event.listen(engine, "checkout", _on_checkout)
    sa.event.listen(engine, "checkin", _on_checkin)


def _on_checkout(adapted: Any, record: Any, _proxy: Any) -> None:
    if adapted.driver_connection.is_closed():
        raise sa.exc.DisconnectionError("The server has closed this connection.")
    if time.monotonic() - record.info.get(_RESTED_SINCE, time.monotonic()) > _REST_SECONDS:
        try:
            adapted.ping()
        except (adapted.dbapi.Error, OSError) as error:
            raise sa.exc.DisconnectionError("The server doesn't answer on this connection.") from error


def _on_checkin(adapted: Any, record: Any) -> None:
    record.info[_RESTED_SINCE] = time.monotonic()
    if adapted is not None:
        adapted.isolation_level, adapted.readonly = None, False
