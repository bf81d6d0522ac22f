"""A disk that is full: what can't be stored is told, nothing is stored by half, and it goes on when there is room again."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from open_webui.env import Settings
from open_webui.internal.db_errors import NO_DATABASE
from open_webui.migrations import runner
from open_webui.storage.base import NO_ROOM
from tests.faults.conftest import at_page, models_are_there
from tests.open_webui.chat.page import rebuilt
from tests.support.pictures import picture, png
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]
MB = 2**20


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, but: int = 0) -> None:
        """Leaves so many bytes of room."""
        room = os.statvfs(self.folder)
        self._filler.write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - but)))

    def clear(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assert_whole(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_full_disk_under_a_server(disk: Disk, make_server: Callable[..., Server], upstream: Upstream) -> None:
    data = disk.folder / "data"
    server = make_server(
        DATA_DIR=str(data), OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream"
    ).start()
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        body = page.ask("gated", "Hold on")
        chat_id = (await page.post(body))["chat_id"]
        upstream.release(5)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
        disk.fill()
        shown = page.ask("echo", "What is this?")
        shown["user_message"]["files"] = [{"type": "image", "url": picture(1, 400_000)}]
        refused = await page.http.post("/api/chat/completions", json=shown)
        assert (refused.status_code, refused.json()["detail"]) == (503, NO_ROOM)
        assert refused.headers["retry-after"] == "10"
        # SQLite writes on into the room that its log has from before; then it says so.
        for k in range(400):
            refused = await page.http.post("/api/chat/completions", json=page.ask("fixed", f"{k}" + "No room" * 20_000))
            if refused.status_code != 200:
                break
        assert (refused.status_code, refused.json()["detail"]) == (503, NO_DATABASE)
        upstream.release(20)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text())
        disk.clear()
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])), timeout=30)
        kept = await page.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == (fixed_text(), True)
        again = await page.post(shown)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", shown["id"])))
        question = (await page.message(again["chat_id"], shown["user_message"]["id"]))["files"][0]
        assert (await page.http.get(f"/api/v1/files/{question['url']}/content")).content == png(1, 400_000)
    assert server.stop() == 0
    assert list((data / "blobs" / "new").iterdir()) == []
    assert_whole(data / "webui.db")


async def test_a_full_disk_while_migrating(
    disk: Disk, make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    data = disk.folder / "data"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "HEAD", "0003")
        patch.setattr(runner, "_upgrade", lambda connection: command.upgrade(runner.alembic_config(connection), "0003"))
        await runner.migrate(Settings(_env_file=None, data_dir=data, env="test"))
    database = data / "webui.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE ballast (x)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(?))", (4 * MB,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # For half of the copy, and for the copy but not for the migration.
    for room in (2 * MB, database.stat().st_size + 40_000):
        disk.fill(but=room)
        server = make_server(DATA_DIR=str(data))
        assert server.launch().wait(timeout=60) != 0
        said = [line for line in server.log.splitlines() if line.startswith("oui-backend: ")]
        assert len(said) == 1, server.log
        assert "can't be used: " in said[0]
        assert "full" in said[0]
        disk.clear()
        assert_whole(database)
        assert not list(data.glob("*.part*"))
        for copy in data.glob("*.before-*"):
            assert_whole(copy)
    make_server(DATA_DIR=str(data)).start().stop()
    assert_whole(database)
