"""kill -9 in the middle of an import and of a removal: nobody sees half of either, and what was left goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import tables
from tests.faults.conftest import at_page, models_are_there
from tests.open_webui.chat.page import Page, rebuilt
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.turns import slowness, watched_stalls

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
CHATS, MESSAGES = 2_000, 10


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The server's database, looked at from outside."""
    opened = open_database(settings)
    yield opened
    await opened.close()


def export(count: int, size: int = 500) -> list[dict[str, Any]]:
    history = {
        "currentId": f"m{MESSAGES - 1}",
        "messages": {
            f"m{k}": {"id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "role": "user", "content": "x" * size}
            for k in range(MESSAGES)
        },
    }
    return [{"chat": {"title": f"Imported {k}", "history": history}, "meta": {"tags": ["T"]}} for k in range(count)]


async def count(database: Database, table: sa.Table, *where: Any) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0)


async def killed_when(server: Server, request: Any, database: Database, moment: Callable[[int], bool]) -> None:
    """Kills the server once the number of hidden chats is of this kind while a request is answered."""
    task = asyncio.ensure_future(request)
    hidden = tables.chat.c.hidden_at.is_not(None)
    async with asyncio.timeout(60):
        while not moment(await count(database, tables.chat, hidden)):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.001)
    server.kill()
    with contextlib.suppress(httpx.HTTPError):
        assert (await task).status_code != 200


@asynccontextmanager
async def again(server: Server) -> AsyncIterator[Page]:
    server.start()
    async with at_page(server) as page:
        yield page


async def titles(page: Page) -> list[str]:
    return [row["title"] for row in (await page.http.get("/api/v1/chats/")).json()]


async def test_an_import_that_is_killed_leaves_nothing(server: Server, database: Database, tmp_path: Path) -> None:
    async with at_page(server, new=True) as page:
        await page.http.post("/api/v1/chats/new", json={"chat": {"title": "Kept"}})
        post = page.http.post("/api/v1/chats/import", json={"chats": export(CHATS)})
        await killed_when(server, post, database, lambda hidden: 0 < hidden < CHATS)
    async with again(server) as page:
        assert await titles(page) == ["Kept"]
        assert (await page.http.get("/api/v1/chats/all/tags")).json() == []
        if database.is_sqlite:
            assert await count(database, tables.chat) == 1
            assert await count(database, tables.message) == 0
        made = await page.http.post("/api/v1/chats/import", json={"chats": export(300)})
        assert len(made.json()) == 300
        assert len(await titles(page)) == 301


async def test_a_removal_that_is_killed_is_done(server: Server, database: Database) -> None:
    async with at_page(server, new=True) as page:
        assert len((await page.http.post("/api/v1/chats/import", json={"chats": export(CHATS)})).json()) == CHATS
        await killed_when(server, page.http.delete("/api/v1/chats/"), database, lambda hidden: hidden > 0)
    async with again(server) as page:
        assert await titles(page) == []
        assert (await page.http.get("/api/v1/chats/search", params={"text": "xxx"})).json() == []
        if database.is_sqlite:
            assert await count(database, tables.chat) == 0
            assert await count(database, tables.message) == 0


# It is SQLite's one writer that both need.
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_an_answer_that_runs_beside_an_import_keeps_all_but_its_last_second(
    server: Server, database: Database
) -> None:
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        slow = slowness()
        asked = page.ask("slow", "Long question", max_tokens=2_000)
        chat_id = (await page.post(asked))["chat_id"]
        post = page.http.post("/api/v1/chats/import", json={"chats": export(CHATS, 1_300)}, timeout=60)
        async with watched_stalls() as stalls:
            await killed_when(server, post, database, lambda hidden: hidden > CHATS * 0.8)
        seen = rebuilt([], page.of(asked["id"]))
    async with again(server) as page:
        kept = await page.message(chat_id, asked["id"])
        assert kept["meta"]["interrupted"] is True
        assert fixed_text(2_000).startswith(kept["content"])
        # 50 words a second, with room for a machine that is busy.
        room = 60 * max(slow, slowness()) + 50 * stalls.seconds
        assert len(seen.split()) - len(kept["content"].split()) <= room
