"""One server at a time on a data folder with SQLite: the second says so and touches nothing; what is killed holds nothing."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import at_page, models_are_there
from tests.faults.test_starts import refused
from tests.support.process import ROOT
from tests.support.server import Server
from tests.support.upstream import Upstream

MakeServer = Callable[..., Server]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]


def said_by(server: Server, *command: str) -> str:
    """What a command printed that succeeded."""
    before = len(server.log)
    status = server.launch(*command).wait(timeout=30)
    said = server.log[before:]
    assert status == 0, said
    return said


def query(path: Path, sql: str) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_second_server_is_refused_before_it_touches_the_database(
    make_server: MakeServer, upstream: Upstream
) -> None:
    provider = {"OPENAI_API_BASE_URLS": upstream.openai_url, "OPENAI_API_KEYS": "sk-upstream"}
    first = make_server(**provider).start()
    data = Path(first.environment["DATA_DIR"])
    second = make_server(DATA_DIR=str(data), **provider)
    async with at_page(first, new=True) as page:
        await models_are_there(page)
        await page.post(page.ask("slow", "A long question", max_tokens=10_000))
        running = "SELECT task_id, instance FROM generation"
        before = query(data / "webui.db", running)
        assert len(before) == 1
        # As if the second were newer: it must not migrate what the first one uses.
        query(data / "webui.db", "UPDATE alembic_version SET version_num = '0001'")
        files = names_in(data)
        sentence = refused(second)
        assert f"({first.pid})" in sentence
        assert str(data) in sentence
        assert "PostgreSQL" in sentence
        assert query(data / "webui.db", running) == before
        assert query(data / "webui.db", "SELECT version_num FROM alembic_version") == [("0001",)]
        assert names_in(data) == files
        assert first.healthy()


def test_the_lock_goes_with_its_process(make_server: MakeServer) -> None:
    first = make_server().start()
    second = make_server(DATA_DIR=first.environment["DATA_DIR"])
    refused(second)
    first.kill()
    second.start()
    assert second.stop() == 0
    first.start()


@pytest.mark.parametrize("shared", ["DATA_DIR", "DATABASE_URL"])
def test_it_is_enough_to_share_the_folder_or_the_file(make_server: MakeServer, tmp_path: Path, shared: str) -> None:
    both = {"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": f"sqlite:///{tmp_path / 'files' / 'one.db'}"}
    make_server(**both).start()
    sentence = refused(make_server(**{shared: both[shared]}))
    assert str(tmp_path / ("data" if shared == "DATA_DIR" else "files")) in sentence


def test_commands_beside_a_server(make_server: MakeServer) -> None:
    server = make_server().start()
    data = server.environment["DATA_DIR"]
    beside = make_server(DATA_DIR=data)
    assert "already current" in said_by(beside, "migrate")
    assert "DATA_DIR" in said_by(beside, "config")
    query(Path(data) / "webui.db", "UPDATE alembic_version SET version_num = '0001'")
    assert beside.launch("migrate").wait(timeout=30) == 1
    assert f"({server.pid}) is using {data}" in beside.log
    assert query(Path(data) / "webui.db", "SELECT version_num FROM alembic_version") == [("0001",)]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_servers_share_a_postgresql_database(make_server: MakeServer, database_url: str, tmp_path: Path) -> None:
    both = {"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": database_url}
    servers = [make_server(**both).start() for _ in range(2)]
    assert all(server.healthy() for server in servers)


def test_a_server_that_reloads_hands_the_lock_on(make_server: MakeServer) -> None:
    server = make_server()
    lock = Path(server.environment["DATA_DIR"]) / "server.lock"
    server.launch("serve", "--reload")
    try:
        first = await_owner(server, lock, "")
        assert f"oui-backend listens on {server.url}\n" in server.log
        assert first != str(server.pid)
        os.utime(ROOT / "src/open_webui/__init__.py")
        await_owner(server, lock, first)
    finally:
        server.stop()


def await_owner(server: Server, lock: Path, before: str) -> str:
    """The process that has the lock and answers, another than before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        owner = lock.read_text() if lock.exists() else ""
        if owner not in {"", before} and server.healthy():
            return owner
        time.sleep(0.05)
    raise AssertionError(server.log)
