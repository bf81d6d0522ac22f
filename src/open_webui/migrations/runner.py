"""Brings the database to the newest schema: under a lock, in one transaction, after a copy of a SQLite file."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import database_url, ensure_folder, open_alone, shown_url
from open_webui.internal.log import get_logger
from open_webui.internal.postgres import without_limits
from open_webui.migrations import HEAD

log = get_logger(__name__)
# Any number, the same in every replica: PostgreSQL's advisory lock for migrations.
LOCK_KEY = 0x6F7569
# In place of the schema's version, while `oui-backend db copy` has not copied and compared everything.
COPYING = "copying"


class HalfCopied(StartupError):
    """The database is the target of a copy that is not finished."""


async def migrate(settings: Settings, alone: AbstractContextManager[None] | None = None) -> bool:
    """Upgrades if needed and tells whether it did. Raises StartupError with one sentence for a person.

    alone: entered around an upgrade, for a caller that does not hold the lock of the data folder.
    """
    async with _engine(settings) as engine:
        return await _migrate(engine, settings, alone or nullcontext())


async def migrate_apart(settings: Settings) -> bool:
    """The same in a child process where there is something to do: what a migration loads (some 8 MB) goes with it, instead
    of staying with a server for as long as that runs. Raises StartupError with the child's sentence.
    """
    async with _engine(settings) as engine:
        if await _current(engine, settings):
            return False
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "open_webui.migrations",
        env=os.environ | {"DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await child.communicate()
    finally:
        # Of a start that is given up: half a migration is none, each is one transaction.
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == 0:
        return bool(json.loads(said)["migrated"])
    with contextlib.suppress(ValueError, KeyError):
        raise StartupError(json.loads(said)["failed"])
    raise StartupError(
        f"The database's migration ended with status {child.returncode}; what it wrote is above. Nothing was changed."
    )


@contextlib.asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The configured database, of which a SQLite file's folder is made. Raises StartupError for what fails inside."""
    url = database_url(settings)
    if url.drivername.startswith("sqlite") and url.database:
        ensure_folder(Path(url.database).parent)
    engine = open_alone(settings)
    try:
        with failures_as_sentences(settings):
            yield engine
    finally:
        await engine.dispose()


async def _current(engine: AsyncEngine, settings: Settings) -> bool:
    """Whether the schema is this release's. Raises StartupError for one that may not be upgraded."""
    async with engine.connect() as connection:
        state = await connection.run_sync(_revision)
        await connection.rollback()
    if state != HEAD and not settings.enable_db_migrations:
        raise StartupError(
            f"The database has schema {state or 'none'}, this release needs {HEAD}."
            " Run `oui-backend migrate`, or set ENABLE_DB_MIGRATIONS=true."
        )
    return state == HEAD


async def _migrate(engine: AsyncEngine, settings: Settings, alone: AbstractContextManager[None]) -> bool:
    if await _current(engine, settings):
        return False
    if engine.dialect.name == "sqlite":
        # An own thread: Alembic is synchronous, and so are a file and the lock on it.
        with alone:
            done = await asyncio.to_thread(_upgrade_sqlite, Path(str(engine.url.database)))
    else:
        done = await _upgrade_postgresql(engine)
    if done:
        log.info("database migrated", revision=HEAD)
    return done


async def stored_revision(settings: Settings) -> str | None:
    """The schema of the configured database, None when there is no database or nothing in it. Makes and changes nothing.

    Raises StartupError for one that can't be read.
    """
    url = database_url(settings)
    if _is_missing(url):
        return None
    engine = open_alone(settings)
    try:
        with failures_as_sentences(settings):
            async with engine.connect() as connection:
                return await connection.run_sync(_revision)
    finally:
        await engine.dispose()


@contextlib.contextmanager
def failures_as_sentences(settings: Settings) -> Iterator[None]:
    """Raises StartupError for what the database raises inside, with one sentence and without the passwords of its address."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        address = shown_url(settings)
        raise StartupError(f"The database {address} can't be used: {_first_line(error)}") from error


def _is_missing(url: sa.URL) -> bool:
    """Whether it is a SQLite file that is not there: opening it would make it."""
    return url.drivername.startswith("sqlite") and not Path(str(url.database)).exists()


async def need_current(settings: Settings) -> None:
    """Raises StartupError, which says what to do, unless the database has this release's schema."""
    revision = await stored_revision(settings)
    if revision is None:
        raise StartupError(
            f"There is no database at {shown_url(settings)} yet. Start the server or run `oui-backend migrate`"
            " first; all commands look for .env and DATA_DIR in the folder that they are run in."
        )
    if revision != HEAD:
        raise StartupError(f"The database has schema {revision}, this release needs {HEAD}. Run `oui-backend migrate`.")


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _revision(connection: sa.Connection) -> str | None:
    """The stored revision, None for an empty database. Raises StartupError for a schema that isn't ours or half done."""
    tables = set(sa.inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables & {"user", "chat", "config", "chat_message"}:
            raise StartupError(
                "The database has tables of this product but no schema version: an earlier migration stopped halfway. "
                "Restore the last backup (beside the SQLite file), or point DATABASE_URL at an empty database."
            )
        return None
    found = [row[0] for row in connection.execute(sa.text("SELECT version_num FROM alembic_version"))]
    if len(found) != 1:
        if not found and not tables & {"user", "chat"}:
            return None
        raise StartupError(
            f"The database's schema version is not one value but {len(found)}: an earlier migration stopped halfway. "
            "Restore the last backup."
        )
    revision = str(found[0])
    if revision == HEAD:
        if missing := sorted({"user", "chat", "chat_message", "config"} - tables):
            raise StartupError(
                f"The database says schema {revision} but lacks {', '.join(missing)}: it is damaged. Restore the last backup."
            )
        return revision
    if revision == COPYING:
        raise HalfCopied(
            "A copy into this database has begun and is not finished: run the same `oui-backend db copy` again."
        )
    if revision not in _known():
        raise StartupError(
            f"The database has schema {revision}, which this release doesn't know: it is newer, or another product's. "
            "Install the release it belongs to, or point DATABASE_URL elsewhere."
        )
    return revision


def _known() -> set[str]:
    return {path.name.split("_")[0] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py")}


def alembic_config(connection: sa.Connection | None) -> Any:
    """Alembic's configuration, made in memory: alembic.ini is there for the command `alembic` in a clone, and not needed here."""
    from alembic.config import Config  # noqa: PLC0415 - loaded only by a start that has something to migrate

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415 - as above

    command.upgrade(alembic_config(connection), "head")


async def _upgrade_postgresql(engine: AsyncEngine) -> bool:
    """Upgrades in one transaction, unless another process did while this one waited for its turn."""
    async with engine.begin() as connection:
        await without_limits(connection)
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        if await connection.run_sync(_revision) == HEAD:
            return False
        await connection.run_sync(_upgrade)
    return True


def _upgrade_sqlite(path: Path) -> bool:
    """The same for a file, of which a copy is made first."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool)
    sa.event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with _file_lock(path):
            with engine.connect() as connection:
                state = _revision(connection)
            if state == HEAD:
                return False
            if state is not None:
                _copy_sqlite(path, state)
            # By the driver: it can't be done within a transaction, which the engine begins by itself.
            with contextlib.closing(sqlite3.connect(path)) as plain:
                plain.execute("PRAGMA journal_mode=WAL")
            with engine.begin() as connection:
                _upgrade(connection)
    finally:
        engine.dispose()
    return True


def _copy_sqlite(path: Path, revision: str) -> Path:
    """A consistent copy beside the file (SQLite's own backup, so a WAL is included)."""
    target = path.with_name(f"{path.name}.before-{HEAD}-from-{revision}-{int(time.time())}")
    # Half of a copy must not pass for one: the disk may be full.
    part = target.with_name(f"{target.name}.part")
    try:
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        part.replace(target)
    finally:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)
    log.info("database copied before migration", copy=str(target))
    return target


@contextlib.contextmanager
def _file_lock(database: Path) -> Iterator[None]:
    """One migrating process a SQLite file; others wait. On systems without flock the transaction alone protects."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    handle: IO[str]
    with Path(f"{database}.migrate-lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
