"""An address that takes what is posted to it, and says what it was told to say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web


class Receiver:
    """got: the headers (small letters) and the JSON of each message. statuses: what is answered next; 200 after them."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes, dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.url = ""
        self._news = asyncio.Event()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, body, msgspec.json.decode(body)))
        self._news.set()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"location": self.url} if 300 <= status < 400 else {})

    async def wait(self, count: int) -> list[tuple[dict[str, str], bytes, dict[str, Any]]]:
        """What came, as soon as it is so many messages."""
        async with asyncio.timeout(120):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
        return self.got


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made._take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=secret-word"
        yield made
    finally:
        await runner.cleanup()
