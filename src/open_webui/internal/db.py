"""The database: an engine for SQLite or PostgreSQL, and the unit of work that every write goes through.

SQLite has one writer: writes queue on an asyncio lock in front of one connection that begins IMMEDIATE, so no statement
ever meets "database is locked" from this process; reads run on their own connections and see the last commit (WAL).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from llamaforge.exceptions import how_to_install
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.log import get_logger
from open_webui.internal.postgres import UNPREPARED, read_last_commit, read_one_snapshot, watch_pool
from open_webui.internal.prepared import driver_of
from open_webui.internal.readers import Readers
from open_webui.internal.shielding import to_the_end
from open_webui.internal.sqlite import Connection, ReadConnection, creator, until_ended
from open_webui.utils.masking import masked

log = get_logger(__name__)
# Connections that are kept where only those beyond are said.
_POOL_SIZE: Final = 10
# Seconds that connections in use may take to be given back when all are closed.
GIVEN_BACK: Final = 5
LOOK_AGAIN: Final = 0.01
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def dumps(value: Any) -> str:
    """JSON text of a value, as columns store it."""
    return _encode(value).decode()


def loads(text: str | bytes) -> Any:
    return _decode(text)


def database_url(settings: Settings) -> URL:
    """The SQLAlchemy URL of the configured database, with its async driver.

    People write `sqlite:///data/webui.db`, `postgres://...` and `postgresql://...`. Raises StartupError.
    """
    text = settings.database_url or f"sqlite:///{settings.data_dir / 'webui.db'}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StartupError(
            "DATABASE_URL is not a database address. Use sqlite:///path/to/file.db or postgresql://user:password@host/name."
        ) from None
    backend = url.drivername.split("+")[0]
    if backend == "sqlite":
        if not url.database:
            raise StartupError("DATABASE_URL names no SQLite file. Use sqlite:///path/to/file.db.")
        return url.set(drivername="sqlite+aiosqlite")
    if backend in {"postgres", "postgresql"}:
        if not url.database:
            raise StartupError("DATABASE_URL names no database. Use postgresql://user:password@host/name.")
        if find_spec("asyncpg") is None:
            raise StartupError(
                f"PostgreSQL needs a driver that is not installed. Install it with: {how_to_install('postgres')}"
            )
        query = {("ssl" if k == "sslmode" else k): v for k, v in url.query.items()}
        return url.set(drivername="postgresql+asyncpg", query=query)
    raise StartupError(f"DATABASE_URL asks for '{backend}', but only SQLite and PostgreSQL are supported.")


def shown_url(settings: Settings) -> str:
    """The configured database's address without its password, wherever in it that stands. Raises StartupError."""
    return str(masked(database_url(settings).render_as_string(hide_password=True)))


def _sqlite_pragmas(settings: Settings, *, writes: bool) -> Callable[[Any, Any], None]:
    def on_connect(connection: Any, _record: Any) -> None:
        # The driver's own implicit BEGIN comes too late for IMMEDIATE; we begin ourselves (see _begin_sqlite).
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            f"busy_timeout={settings.database_sqlite_pragma_busy_timeout}",
            "temp_store=MEMORY",
            f"cache_size={settings.database_sqlite_pragma_cache_size}",
            f"query_only={'OFF' if writes else 'ON'}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return on_connect


def _begin_sqlite(connection: sa.Connection) -> None:
    # The driver knows how: IMMEDIATE for writing. It travels with the first statement.
    driver = connection.connection.driver_connection
    if isinstance(driver, Connection):
        driver.begin()


class UnitOfWork:
    """One transaction: a connection, and what is to happen once it has committed."""

    connection: AsyncConnection

    def __init__(self) -> None:
        self._after: list[Callable[[], Awaitable[None]]] = []
        self._committed = False

    async def begin(self, engine: AsyncEngine) -> None:
        """Takes a connection out of the pool and begins."""
        self.connection = await engine.connect()
        await self.connection.begin()

    async def commit(self) -> None:
        """Commits, and gives the connection back. Raises what the database raises; nothing is stored then."""
        try:
            await self.connection.commit()
            self._committed = True
        finally:
            await self.end()

    async def end(self) -> None:
        """Gives the connection back; what has not been committed is rolled back."""
        try:
            if not self._committed:
                # Said here: closing alone leaves a transaction open whose commit has failed.
                await self.connection.rollback()
        finally:
            await self.connection.close()

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Runs the action when, and only when, this unit of work has committed."""
        self._after.append(action)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Writes inside the block travel to SQLite's thread together, with the next query or the commit.

        For statements whose result nobody looks at: their row counts are unknown, their errors come later. PostgreSQL
        runs them one by one.
        """
        driver = driver_of(self.connection)
        if driver is None:
            yield
            return
        driver.deferring = True
        try:
            yield
        finally:
            driver.deferring = False

    @property
    def is_followed(self) -> bool:
        """Whether it has committed and something is to happen now."""
        return self._committed and bool(self._after)

    async def run_after(self) -> None:
        """Does what follows the commit. One action that fails keeps none from the others."""
        for action in self._after:
            try:
                await action()
            except Exception:
                # What is stored is stored: whoever stored it must not be told that it failed.
                log.exception("what follows a commit failed")


class Database:
    """Opens connections for reading and units of work for writing. Built by `open_database`."""

    def __init__(self, readers: AsyncEngine, writer: AsyncEngine, dialect: str) -> None:
        self._readers = readers
        self._kept = Readers(readers) if dialect == "sqlite" else None
        self._writer = writer
        # What a transaction gets along before its commit; what it gives is called once that is done (services/audit).
        self.before_commit: Callable[[UnitOfWork], Awaitable[Callable[[], None] | None]] | None = None
        # Whose turn it is to write.
        self._turn: AbstractAsyncContextManager[None] = asyncio.Lock() if dialect == "sqlite" else nullcontext()
        self.dialect = dialect

    @property
    def is_sqlite(self) -> bool:
        return self.dialect == "sqlite"

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for reading: all its statements see the same state of the database, and none may write.

        Hold none while a provider talks. Raises SQLAlchemy's errors, and ConnectionError where the database is not reached.
        """
        return self._reading(looking=False) if self._kept is None else self._kept.taken(looking=False)

    def look(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """`read` for one statement, or for some that need not see the same state: there is no transaction, and each of them
        sees the last commit.
        """
        return self._reading(looking=True) if self._kept is None else self._kept.taken(looking=True)

    @asynccontextmanager
    async def _reading(self, *, looking: bool) -> AsyncIterator[AsyncConnection]:
        async with self._readers.connect() as connection:
            (read_last_commit if looking else read_one_snapshot)(connection)
            try:
                yield connection
            except TimeoutError as error:
                raise await _silent(connection) from error

    @asynccontextmanager
    async def write(self, *, aside: bool = False) -> AsyncIterator[UnitOfWork]:
        """A unit of work: commits at the end of the block, rolls back when it raises or is cancelled.

        A commit that has begun is not cut: a cancellation meanwhile is raised when it is over and what follows it is done.
        aside: what it stores is not what is being done, as a count of attempts, so that no entry of the audit record says so.
        """
        unit = UnitOfWork()
        try:
            async with self._turn:
                await unit.begin(self._writer)
                try:
                    yield unit
                    done = None if aside or self.before_commit is None else await self.before_commit(unit)
                except TimeoutError as error:
                    raise await _silent(unit.connection) from error
                except BaseException:
                    await to_the_end(unit.end())
                    raise
                await to_the_end(unit.commit())
                if done is not None:
                    done()
        finally:
            if unit.is_followed:
                await to_the_end(unit.run_after())

    async def answers(self) -> bool:
        """Whether a statement gets through."""
        try:
            async with self.read() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (sa.exc.SQLAlchemyError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Closes all connections; SQLite's last one folds the WAL back into the one file.

        Whoever is late and asks for one after this has one that is closed as soon as it is given back.
        """
        if self._kept is not None:
            await self._kept.close()
        await close_connections(self._readers, for_good=True)
        if self._writer is not self._readers:
            await close_connections(self._writer, for_good=True)
        if self.is_sqlite:
            await until_ended()


async def close_connections(engine: AsyncEngine, *, for_good: bool = False) -> None:
    """Closes all connections of an engine, those in use when they are given back; what needs one after this makes another.
    for_good: which is closed, too, when it is given back.

    `dispose` alone closes what rests in the pool: what is given back later would be kept by a pool that nobody has any more,
    and be closed by nobody. One that is not given back within `GIVEN_BACK` seconds is no longer waited for.
    """
    pool = engine.sync_engine.pool
    await engine.dispose(close=False)
    sa.event.listen(pool, "checkin", _close)
    if for_good:
        sa.event.listen(engine.sync_engine.pool, "checkin", _close)
    for _ in range(int(GIVEN_BACK / LOOK_AGAIN)):
        if not isinstance(pool, sa.QueuePool) or not pool.checkedout():
            break
        await asyncio.sleep(LOOK_AGAIN)
    await sa.util.greenlet_spawn(pool.dispose)


def _close(_connection: Any, kept: Any) -> None:
    # There is none where it could not be used.
    kept.close()


async def _silent(connection: AsyncConnection) -> ConnectionError:
    """The error of a server that doesn't even end its own statements in time. A rollback would wait for it once more."""
    await to_the_end(connection.invalidate())
    await to_the_end(connection.close())
    return ConnectionError("The database does not answer any more.")


def open_database(settings: Settings) -> Database:
    """Engines for the configured database. Connects to nothing yet."""
    url = database_url(settings)
    common: dict[str, Any] = {"json_serializer": dumps, "json_deserializer": loads}
    if not url.drivername.startswith("sqlite"):
        from open_webui.internal.postgres_connect import Connector  # noqa: PLC0415 - its driver is an extra

        kept, beyond = pool_of(settings)
        engine = create_async_engine(
            url,
            pool_size=kept,
            max_overflow=beyond,
            pool_timeout=settings.database_pool_timeout,
            **common,
        )
        sa.event.listen(engine.sync_engine, "do_connect", Connector(settings).connect)
        watch_pool(engine.sync_engine)
        return Database(engine, engine, "postgresql")
    if url.database and url.database != ":memory:":
        ensure_folder(Path(url.database).parent)
    pool = sa.AsyncAdaptedQueuePool
    reading, writing = ({"async_creator_fn": creator(kind)} for kind in (ReadConnection, Connection))
    # More readers than cores would only fight for them: with twice as many, a list costs a third more CPU.
    size = max(2, min(8, os.cpu_count() or 2))
    readers = create_async_engine(url, poolclass=pool, pool_size=size, max_overflow=0, connect_args=reading, **common)
    writer = create_async_engine(url, poolclass=pool, pool_size=1, max_overflow=0, connect_args=writing, **common)
    for engine in (readers, writer):
        sa.event.listen(engine.sync_engine, "connect", _sqlite_pragmas(settings, writes=engine is writer))
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(readers, writer, "sqlite")


def pool_of(settings: Settings) -> tuple[int, int]:
    """How many connections to PostgreSQL are kept, and how many more there may be.

    Where nobody has said, all are kept: one that a burst opens and closes costs more than one that rests.
    """
    size, overflow = settings.database_pool_size, settings.database_pool_max_overflow
    if size is None:
        return (2 * _POOL_SIZE, 0) if overflow is None else (_POOL_SIZE, overflow)
    return size, size if overflow is None else overflow


def open_alone(settings: Settings) -> AsyncEngine:
    """An engine for a command: it keeps no connections, has no limits of time but that of connecting, and works through
    a pooler. Connects to nothing yet.
    """
    url = database_url(settings)
    options: dict[str, Any] = {}
    if not url.drivername.startswith("sqlite"):
        options = UNPREPARED | {"timeout": settings.database_connect_timeout}
    return create_async_engine(url, poolclass=sa.pool.NullPool, connect_args=options)


def ensure_folder(folder: Path) -> None:
    """Makes a data folder and checks that it can be written to. Raises StartupError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartupError(
            f"The data folder {folder} can't be written to ({error.strerror}). Give this user the right, or set DATA_DIR."
        ) from None
