"""Which bus a process has."""

from typing import Any

from sqlalchemy.engine import URL

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import database_url
from open_webui.internal.redis_servers import bus_servers


def open_bus(settings: Settings) -> Bus:
    """The bus of the configured database's processes. It listens once it is opened. Raises StartupError.

    On SQLite there is one process. In a test there is one, too, with several applications, unless it names a Redis.
    """
    url = database_url(settings)
    servers = bus_servers(settings)
    if url.drivername.startswith("sqlite") or (settings.env == "test" and servers is None):
        return MemoryBus(Hub.of(str(url)))
    # What only those need who have other processes.
    from open_webui.internal.bus.link import LinkBus  # noqa: PLC0415

    if servers is not None:
        from open_webui.internal.bus.redis import RedisCarrier  # noqa: PLC0415

        return LinkBus(RedisCarrier(servers, settings.redis_key_prefix))
    from open_webui.internal.bus.postgres import PostgresCarrier  # noqa: PLC0415

    return LinkBus(PostgresCarrier(asyncpg_options(listening_url(settings))))


def listening_url(settings: Settings) -> URL:
    """The database as LISTEN reaches it. Raises StartupError."""
    if not settings.database_direct_url:
        return database_url(settings)
    try:
        url = database_url(settings.model_copy(update={"database_url": settings.database_direct_url}))
    except StartupError as error:
        raise StartupError(error.detail.replace("DATABASE_URL", "DATABASE_DIRECT_URL")) from None
    if url.drivername.startswith("sqlite"):
        raise StartupError(
            "DATABASE_DIRECT_URL is the address of a PostgreSQL database. Use postgresql://user:password@host/name."
        )
    return url


def asyncpg_options(url: URL) -> dict[str, Any]:
    """What asyncpg.connect takes for a database of SQLAlchemy's."""
    options = dict(url.get_dialect()().create_connect_args(url)[1])
    # SQLAlchemy's own.
    for name in ("prepared_statement_cache_size", "prepared_statement_name_func"):
        options.pop(name, None)
    return options
