"""An import from Open WebUI that is killed in the middle goes on where it was; a server serves meanwhile."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.foreign_database import PASSWORD, Foreign
from tests.support.process import clean_environment, die_with_parent
from tests.support.server import Server
from tests.support.turns import slowness

pytestmark = [pytest.mark.fault, pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)]
CHATS = 150
ADA = "ada@example.com"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Many small chats, and one that is written in portions."""
    f = Foreign()
    ada = f.person("Ada", "admin")
    for number in range(CHATS):
        f.chat(ada, f"Chat {number}")
    line = {"role": "user", "childrenIds": [], "timestamp": 1_760_000_000}
    long = {
        f"m{k}": line | {"id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "content": f"text {k}"}
        for k in range(3_000)
    }
    f.chat(ada, "Long", messages=long, rows=False)
    return f.sqlite(tmp_path / "theirs" / "webui.db")


def launch(server: Server, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "open_webui.cli", "import", "open-webui", *arguments],
        cwd=server.folder, env=clean_environment(server.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
    )  # fmt: skip


def stored(server: Server, what: str = "chat") -> int:
    path = server.environment["DATABASE_URL"].removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


async def finished(process: "subprocess.Popen[bytes]") -> str:
    said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def killed_at(server: Server, theirs: Path, reached: Callable[[], bool]) -> None:
    process = launch(server, str(theirs))
    deadline = time.monotonic() + 30
    while not reached() and process.poll() is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=10)


async def test_it_goes_on_after_a_kill(make_server: Any, database_url: str, theirs: Path) -> None:
    """Killed at the accounts, among the chats, and in the middle of a large one: then all is here, and once."""
    server = make_server(DATABASE_URL=database_url)
    await killed_at(server, theirs, lambda: stored(server, '"user"') >= 1)
    await killed_at(server, theirs, lambda: stored(server) >= CHATS // 3)
    await killed_at(server, theirs, lambda: stored(server, "chat_message") > CHATS * 4 + 500)
    server.start()
    said = await finished(launch(server, str(theirs)))
    assert stored(server) == CHATS + 1
    assert stored(server, "chat_message") == CHATS * 4 + 3_000
    assert stored(server, "chat WHERE hidden_at IS NOT NULL") == 0
    assert stored(server, "\"user\" WHERE role = 'admin'") == 1
    assert "already there" in said
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        form = {"email": ADA, "password": PASSWORD}
        token = (await client.post("/api/v1/auths/signin", json=form)).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        found = (await client.get("/api/v1/chats/", params={"page": 1})).json()
        assert len(found) == 60
        assert (await client.get("/api/v1/chats/search", params={"text": "Question"})).json()


async def test_a_server_writes_meanwhile(make_server: Any, database_url: str, theirs: Path) -> None:
    """SQLite has one writer at a time: neither the import nor the people here wait for long."""
    server = make_server(DATABASE_URL=database_url).start()
    times: list[float] = []
    slow = slowness()
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        form = {"name": "Own", "email": "own@example.com", "password": PASSWORD}
        token = (await client.post("/api/v1/auths/signup", json=form)).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        process = launch(server, str(theirs))
        while process.poll() is None:
            began = time.monotonic()
            reply = await client.post("/api/v1/chats/new", json={"chat": {"title": "Mine"}})
            times.append(time.monotonic() - began)
            assert reply.status_code == 200, reply.text
            await asyncio.sleep(0.02)
    await finished(process)
    assert stored(server, "chat WHERE title <> 'Mine'") == CHATS + 1
    # A machine that stands still for a moment holds one or two of them up; an import that keeps the writer, many.
    late = [took for took in times if took > 3 * max(slow, slowness())]
    assert len(late) <= 2, late
