"""The database goes away in the middle of an answer: what was acknowledged stays, and the end is stored when it is back."""

import asyncio
import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from open_webui.internal.db_errors import NO_DATABASE
from tests.faults.conftest import at_page, models_are_there
from tests.open_webui.chat.page import rebuilt
from tests.support import postgres
from tests.support.process import die_with_parent
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]


class Own:
    """A PostgreSQL that a test may stop and start again on the same data."""

    def __init__(self) -> None:
        self.server = postgres.start()
        process = Path(f"/proc/{self.server.process.pid}")
        self._command = [part.decode() for part in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
        self._user, self._group = process.stat().st_uid, process.stat().st_gid

    def halt(self, *, immediate: bool = False) -> None:
        """Stops it: fast, or as if it crashed."""
        self.server.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self.server.process.wait(timeout=10)

    def _launch(self) -> None:
        root = os.geteuid() == 0
        process = subprocess.Popen(
            self._command, cwd=self.server.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            user=self._user if root else None, group=self._group if root else None, extra_groups=[] if root else None,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        self.server = dataclasses.replace(self.server, process=process)

    async def again(self) -> None:
        self._launch()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    await self.server.execute("SELECT 1")
                    return
                await asyncio.sleep(0.05)


@pytest.fixture
def own_postgres() -> Iterator[Own]:
    own = Own()
    yield own
    own.server.stop()


async def test_postgresql_stopped_and_started_mid_answer(
    own_postgres: Own, make_server: Callable[..., Server], upstream: Upstream
) -> None:
    await own_postgres.server.execute("CREATE DATABASE oui")
    server = make_server(
        DATABASE_URL=own_postgres.server.url("oui"), OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk"
    ).start()
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        body = page.ask("gated", "Hold on")
        chat_id = (await page.post(body))["chat_id"]
        upstream.release(5)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
        own_postgres.halt()
        upstream.release(20)
        # Words go on to arrive; only the end waits, since it is told when it is stored.
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text())
        refused = await page.http.post("/api/chat/completions", json=page.ask("echo", "Now?"))
        assert (refused.status_code, refused.json()["detail"]) == (503, NO_DATABASE)
        assert not any(d.get("done") for d in page.data("chat:completion"))
        await own_postgres.again()
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])), timeout=30)
        kept = await page.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == (fixed_text(), True)
        after = page.ask("echo", "And now?", chat_id=chat_id, parent_id=body["id"])
        await page.post(after)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", after["id"])))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_full_disk(server: Server, upstream: Upstream) -> None:
    """No file of the server may grow, as on a full disk; then it may again."""
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        before = page.ask("echo", "Before")
        kept_chat = (await page.post(before))["chat_id"]
        await page.idle(kept_chat)
        body = page.ask("gated", "Hold on")
        chat_id = (await page.post(body))["chat_id"]
        upstream.release(5)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, hard))
        refused = await page.http.post("/api/chat/completions", json=page.ask("echo", "No room"))
        assert (refused.status_code, refused.json()["detail"]) == (503, NO_DATABASE)
        upstream.release(20)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text())
        assert not any(d.get("done") for d in page.data("chat:completion", body["id"]))
        # What is stored can be read all the while.
        assert (await page.message(kept_chat, before["id"]))["content"] == "Before"
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])), timeout=30)
        kept = await page.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == (fixed_text(), True)
        after = page.ask("echo", "And now?", chat_id=chat_id, parent_id=body["id"])
        await page.post(after)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", after["id"])))
        titles = [chat["id"] for chat in (await page.http.get("/api/v1/chats/?page=1")).json()]
        assert sorted(titles) == sorted([kept_chat, chat_id])
    assert server.stop() == 0
