"""How connections to PostgreSQL are made: in bounded time, with the limits of the settings, directly or through a pooler.

A pooler that hands each transaction to any connection of its own (PgBouncer's transaction mode) keeps no prepared
statements and no settings of a session. One is recognised by the number of the server's process, which it makes up.
"""

import socket
from typing import Any, Final

import asyncpg
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.log import get_logger
from open_webui.internal.postgres import LIMITS, UNPREPARED

log = get_logger(__name__)
APPLICATION: Final = "oui-backend"
# A host that is gone says nothing: after so long without an answer on the network its connections are closed.
_SILENT_SECONDS: Final = 30
# The server ends its own statements in time. One that doesn't even do that is not waited for longer than this beyond.
_GRACE_SECONDS: Final = 10.0


class _Limited(asyncpg.Connection):  # type: ignore[misc]  # asyncpg says no types
    """A connection that says its limits in each transaction, in the message that begins it: for poolers."""

    __slots__ = ()
    limits = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        if query.startswith("BEGIN"):
            query += self.limits
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


class Connector:
    """Makes an engine's connections. The first one finds out whether there is a pooler."""

    def __init__(self, settings: Settings) -> None:
        self._prepared = settings.database_prepared_statements
        self._pooled: bool | None = None
        self._limits = limits(settings)
        self._common: dict[str, Any] = {"timeout": settings.database_connect_timeout}
        if settings.database_statement_timeout:
            self._common["command_timeout"] = settings.database_statement_timeout + _GRACE_SECONDS

    def connect(self, dialect: sa.Dialect, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        """SQLAlchemy's event `do_connect`. Raises ConnectionError for a server that isn't reached, else SQLAlchemy's errors."""
        module: Any = dialect.loaded_dbapi
        options |= self._common | {"server_settings": {"application_name": APPLICATION}}
        try:
            if self._pooled is None:
                self._pooled = _is_pooled(module.connect(*arguments, **options))
                if self._pooled:
                    log.info("there is a pooler before the database: statements are not kept on its connections")
            if self._pooled:
                said = "".join(f" SET LOCAL {name} = {value};" for name, value in self._limits.items())
                options["connection_class"] = type("Limited", (_Limited,), {"__slots__": (), "limits": said})
            else:
                options["server_settings"] |= self._limits
            if not (self._prepared if self._prepared is not None else not self._pooled):
                options |= UNPREPARED
            made = module.connect(*arguments, **options)
        except OSError as error:
            raise ConnectionError(str(error) or "It does not answer.") from error
        keep_watch(made.driver_connection)
        return made


def limits(settings: Settings) -> dict[str, str]:
    """PostgreSQL's settings for our transactions, in milliseconds; 0 is no limit."""
    seconds = (
        settings.database_statement_timeout,
        settings.database_idle_transaction_timeout,
        settings.database_lock_timeout,
    )
    return {name: str(int(value * 1000)) for name, value in zip(LIMITS, seconds, strict=True)}


def _is_pooled(adapted: Any) -> bool:
    """Whether the server's process is another than the one that answered when the connection was made; closes it."""
    driver = adapted.driver_connection
    try:
        # In one message without a prepared statement. Its rows are not told, but how many there were.
        asked = f"SELECT 1 WHERE pg_backend_pid() = {driver.get_server_pid()}"
        status: str = sa.util.await_only(driver.execute(asked))
        return status != "SELECT 1"
    finally:
        adapted.close()


def keep_watch(driver: Any) -> None:
    """Has the system notice that the other host is gone, without which a request would wait for a quarter of an hour."""
    connected: socket.socket | None = driver._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no other way
    if connected is None or connected.family == getattr(socket, "AF_UNIX", None):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": _SILENT_SECONDS * 1000}
    for name, value in options.items():
        # Not every system has each.
        if (number := getattr(socket, name, None)) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, number, value)
