"""The application itself, in the test's own process and loop, behind a real socket: streams and sockets work as they do
for a client, and a test can look inside through `Live.app`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from open_webui.env import Settings
from open_webui.internal.bounded_http import BoundedHttp
from open_webui.main import create_app
from open_webui.models import tables
from open_webui.socket.frames import FrameProtocol
from tests.support.replies import CheckedReplies

PASSWORD = "correct horse battery"
# Nothing here speaks TLS, and reading the certificates of the world takes longer than most tests.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Live:
    """A running application."""

    app: FastAPI
    url: str
    settings: Settings
    server: uvicorn.Server

    def client(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A client that speaks with this token, or with none. It keeps cookies as a browser does."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=_NO_CERTIFICATES, **options
        )


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with an account, and the client that speaks for them."""

    id: str
    name: str
    email: str
    role: str
    token: str
    client: httpx.AsyncClient


class _Server(uvicorn.Server):
    """Leaves signals to pytest and says when it is there."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.over = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Waits for the end, which uvicorn would look for ten times a second."""
        await self.on_tick(0)
        await self.over.wait()

    async def shutdown(self, sockets: Any = None) -> None:  # noqa: ARG002
        """As uvicorn does it, but for the tenth of a second that it grants connections whatever they do."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.002)
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Live]:
    """Builds the application for these settings and serves it on a free port. A failing lifespan is raised here."""
    app = create_app(settings)
    checked = CheckedReplies(app)
    server = _Server(
        uvicorn.Config(checked, host="127.0.0.1", port=0, lifespan="on", log_config=None, access_log=False, loop="none",
                       http=BoundedHttp, ws=FrameProtocol, proxy_headers=False,
                       forwarded_allow_ips=settings.forwarded_allow_ips, timeout_graceful_shutdown=5)
    )  # fmt: skip
    running = asyncio.create_task(server.serve(), name="live server")
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not server.started:
            await running
            raise RuntimeError("The application's lifespan failed; its log says why.")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Live(app, f"http://127.0.0.1:{port}", settings, server)
    finally:
        ready.cancel()
        server.should_exit = True
        server.over.set()
        await running
    assert not checked.mismatches, f"Replies are not as their handlers declare them: {checked.mismatches}"


async def used(live: Live, count: int) -> list[Any]:
    """The rows of usage in their order, as soon as there are so many; none more."""
    async with asyncio.timeout(30):
        while True:
            async with live.app.state.oui.database.read() as connection:
                found = (await connection.execute(sa.select(tables.usage).order_by(tables.usage.c.n))).all()
            if len(found) >= count:
                assert len(found) == count
                return list(found)
            await asyncio.sleep(0.05)


async def sign_up(live: Live, name: str, *, role: str | None = None, admin: Actor | None = None) -> Actor:
    """Makes an account through the API: by sign-up, or by an admin with a role given. The client is the caller's to close."""
    email = f"{name.lower().replace(' ', '.')}@example.com"
    form = {"name": name, "email": email, "password": PASSWORD}
    async with live.client() as anonymous:
        if admin is None:
            reply = await anonymous.post("/api/v1/auths/signup", json=form)
        else:
            reply = await admin.client.post("/api/v1/auths/add", json=form | {"role": role or "user"})
            assert reply.status_code == 200, reply.text
            reply = await anonymous.post("/api/v1/auths/signin", json={"email": email, "password": PASSWORD})
        assert reply.status_code == 200, reply.text
        session = reply.json()
    token = session["token"]
    return Actor(session["id"], name, email, session["role"], token, live.client(token))
