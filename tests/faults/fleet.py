"""Several server processes on one database, and people whose pages and requests reach any of them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.conftest import FORM
from tests.open_webui.chat.page import Page
from tests.support.server import Server

# As a proxy answers for a server that is not there, a request is asked again elsewhere for so many seconds.
PATIENCE = 30


@dataclass
class Fleet:
    """Servers on one database, in the order in which they were made. `dice` chooses among them."""

    servers: Sequence[Server]
    dice: random.Random
    down: set[Server] = field(default_factory=set)
    token: str = ""

    @property
    def up(self) -> list[Server]:
        return [server for server in self.servers if server not in self.down]

    def any(self) -> Server:
        return self.dice.choice(self.up)

    async def start(self) -> None:
        """Starts all, the first one alone since it migrates, and signs the administrator up."""
        for server in self.servers:
            await asyncio.to_thread(server.start)
        reply = await self.request("POST", "/api/v1/auths/signup", json=FORM)
        assert reply.status_code == 200, reply.text
        self.token = reply.json()["token"]

    async def request(self, method: str, path: str, *, at: Server | None = None, **options: Any) -> httpx.Response:
        """A request to one of them, or to `at`. Raises httpx.TransportError where it has no answer."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(
            base_url=(at or self.any()).url, timeout=30, trust_env=False, verify=False, headers=headers
        ) as client:
            return await client.request(method, path, **options)

    async def get(self, path: str, *, at: Server | None = None) -> Any:
        """What a GET gives. A server that has just died, or can't reach its database, is left for another one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    reply = await self.request("GET", path, at=at)
                    if reply.status_code == 200:
                        return reply.json()
                    assert reply.status_code == 503, (path, reply.status_code, reply.text)
                await asyncio.sleep(0.1)

    async def message(self, chat_id: str, message_id: str, *, at: Server | None = None) -> dict[str, Any]:
        found = await self.get(f"/api/v1/chats/{chat_id}", at=at)
        kept: dict[str, Any] = found["chat"]["history"]["messages"][message_id]
        return kept

    @contextlib.asynccontextmanager
    async def page(self, at: Server | None = None) -> AsyncIterator[Page]:
        """A tab of the administrator whose socket is at one of the servers, or at `at`. Its `http` asks there, too."""
        async with httpx.AsyncClient(
            base_url=(at or self.any()).url, timeout=30, trust_env=False, verify=False,
            headers={"Authorization": f"Bearer {self.token}"},
        ) as client:  # fmt: skip
            page = Page(client, self.token)
            await page.connect()
            try:
                yield page
            finally:
                await page.socket.disconnect()

    async def models_are_there(self, model: str = "fixed") -> None:
        """Waits until each server knows the provider's models."""
        for server in self.servers:
            async with asyncio.timeout(20):
                while not any(  # noqa: ASYNC110 - it tells nobody
                    m["id"] == model for m in (await self.get("/api/models", at=server))["data"]
                ):
                    await asyncio.sleep(0.05)


def make_fleet(make_server: Callable[..., Server], count: int, seed: int, **environment: str) -> Fleet:
    """Servers that are not started yet. They share no folder, as on machines of their own."""
    return Fleet([make_server(**environment) for _ in range(count)], random.Random(seed))
