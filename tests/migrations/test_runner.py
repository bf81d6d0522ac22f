"""Migrations: once, under a lock, with a copy first, and never onto a schema that isn't whole or isn't ours."""

import asyncio
import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.migrations import HEAD, runner
from open_webui.migrations.runner import alembic_config, migrate, migrate_apart


def settings(tmp_path: Path, url: str, **changes: object) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path / "data", database_url=url, env="test", **changes)


async def run(given: Settings, *statements: str) -> None:
    database = open_database(given)
    async with database.write() as unit:
        for statement in statements:
            await unit.connection.execute(sa.text(statement))
    await database.close()


def test_the_constant_names_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(alembic_config(None)).get_heads() == [HEAD]


async def test_an_empty_database_is_migrated_once(tmp_path: Path, empty_database_url: str) -> None:
    given = settings(tmp_path, empty_database_url)
    assert await migrate(given)
    assert not await migrate(given)


async def test_many_starts_at_once_migrate_once(tmp_path: Path, empty_database_url: str) -> None:
    given = settings(tmp_path, empty_database_url)
    await asyncio.gather(*(migrate(given) for _ in range(5)))
    assert not await migrate(given)


async def test_when_migrations_are_off_an_old_schema_is_refused(tmp_path: Path, empty_database_url: str) -> None:
    with pytest.raises(StartupError, match="ENABLE_DB_MIGRATIONS"):
        await migrate(settings(tmp_path, empty_database_url, enable_db_migrations=False))


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DROP TABLE alembic_version"], "no schema version"),
        (["UPDATE alembic_version SET version_num = '9999'"], "doesn't know"),
        (["UPDATE alembic_version SET version_num = '0bd252b206fb'"], "another product's"),
        (["DELETE FROM alembic_version"], "stopped halfway"),
        (["INSERT INTO alembic_version VALUES ('0000')"], "stopped halfway"),
        (["DROP TABLE config"], "lacks config"),
    ],
)
async def test_a_schema_that_is_not_whole_is_refused(
    tmp_path: Path, database_url: str, statements: list[str], said: str
) -> None:
    given = settings(tmp_path, database_url)
    await run(given, *statements)
    with pytest.raises(StartupError, match=re.escape(said)):
        await migrate(given)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "webui.db").write_bytes(b"this is no database, although it is long enough to look at" * 50)
    with pytest.raises(StartupError, match="can't be used"):
        asyncio.run(migrate(settings(tmp_path, f"sqlite:///{tmp_path / 'webui.db'}")))


async def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as caught:
        await migrate(settings(tmp_path, "postgresql://someone:hidden@127.0.0.1:9/nothing"))
    assert "can't be used" in caught.value.detail
    assert "hidden" not in caught.value.detail


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_a_sqlite_file_is_copied_before_it_is_changed(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "webui.db"
    shutil.copyfile(sqlite_template, path)
    given = settings(tmp_path, f"sqlite:///{path}")
    await run(given, "INSERT INTO singleton VALUES ('kept', 'yes')")
    # A release with a newer schema, whose migration fails.
    monkeypatch.setattr(runner, "HEAD", "9999")

    def fail(_connection: sa.Connection) -> None:
        raise sqlite3.OperationalError("the disk is on fire")

    monkeypatch.setattr(runner, "_upgrade", fail)
    with pytest.raises(StartupError, match="on fire"):
        await migrate(given)
    (copy,) = await asyncio.to_thread(lambda: list(tmp_path.glob(f"webui.db.before-9999-from-{HEAD}-*")))
    assert read(copy, "SELECT value FROM singleton") == [("yes",)]


async def test_a_server_migrates_in_a_child_process_once(tmp_path: Path, empty_database_url: str) -> None:
    given = settings(tmp_path, empty_database_url)
    assert sorted(await asyncio.gather(migrate_apart(given), migrate_apart(given))) == [False, True]
    assert not await migrate(given)


async def test_what_fails_in_the_child_is_said_as_it_would_be_here(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "webui.db"
    shutil.copyfile(sqlite_template, path)
    given = settings(tmp_path, f"sqlite:///{path}")
    # What the last migration makes is there already.
    await run(given, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StartupError, match=r"The database .* can't be used: .*(exists|duplicate)"):
        await migrate_apart(given)
    assert read(path, "SELECT version_num FROM alembic_version") == [("0001",)]


async def test_a_child_that_dies_is_a_sentence(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartupError, match="ended with status 1"):
        await migrate_apart(settings(tmp_path, empty_database_url))


def test_a_server_that_has_migrated_holds_nothing_of_it(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from open_webui.env import Settings
from open_webui.main import create_app

async def live():
    app = create_app(Settings(_env_file=None, data_dir={str(tmp_path / "data")!r}, env="test"))
    async with app.router.lifespan_context(app):
        print([name for name in ("alembic", "mako") if name in sys.modules])

asyncio.run(live())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
