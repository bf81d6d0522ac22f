"""A person at a page of the real server process, who comes back after it was killed."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx

from tests.open_webui.chat.page import Page
from tests.support.live import PASSWORD
from tests.support.server import Server

FORM = {"name": "Admin One", "email": "admin.one@example.com", "password": PASSWORD}


@asynccontextmanager
async def at_page(server: Server, *, new: bool = False) -> AsyncIterator[Page]:
    """Signs in (or up) at a running server and opens a page."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as http:
        reply = await http.post("/api/v1/auths/signup" if new else "/api/v1/auths/signin", json=FORM)
        assert reply.status_code == 200, reply.text
        token = reply.json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        page = Page(http, token)
        await page.connect()
        try:
            yield page
        finally:
            await page.socket.disconnect()


async def on_record(database_url: str, *words: str) -> None:
    """Waits until these words of running answers are in the database: within a second, or later on a slow machine."""
    statement = "SELECT data FROM generation_part"
    async with asyncio.timeout(60):
        while True:
            if database_url.startswith("sqlite"):
                with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
                    found = [str(data) for (data,) in database.execute(statement)]
            else:
                connection = await asyncpg.connect(database_url)
                found = [str(data) for (data,) in await connection.fetch(statement)]
                await connection.close()
            if all(any(word in data for data in found) for word in words):
                return
            await asyncio.sleep(0.1)


async def models_are_there(page: Page, model: str = "fixed") -> None:
    """Waits until the catalogue has asked the provider."""
    async with asyncio.timeout(20):
        while True:
            listed = (await page.http.get("/api/models")).json()["data"]
            if any(m["id"] == model for m in listed):
                return
            await asyncio.sleep(0.05)
