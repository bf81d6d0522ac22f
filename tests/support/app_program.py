"""A small app: an HTTP program that says what it is, takes what it is told, and signs its answers."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = "an api key"
ALL = ["channels:mentions:read", "channels:messages:read", "channels:messages:write", "channels:read"]


class AppProgram:
    """got: what it was told, with the headers. replies: what is answered next, by kinds of events; {} where nothing is said.
    statuses: what is answered before that. manifest: what it says of itself, or its bytes.
    """

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.public = base64.b64encode(self.private.public_key().public_bytes_raw()).decode()
        self.manifest: dict[str, Any] | bytes = {
            "id": "helper", "name": "Helper", "description": "Helps.", "public_key": self.public,
            "requested_scopes": ALL,
        }  # fmt: skip
        self.key = KEY
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.replies: dict[str, dict[str, Any] | bytes] = {}
        self.statuses: list[int] = []
        self.signs = True
        self.url = ""
        self._news = asyncio.Event()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.got if event["type"] == kind]

    async def wait(self, count: int) -> list[dict[str, Any]]:
        """What it was told but for connections, as soon as it is so much."""
        async with asyncio.timeout(30):
            while len(found := [event for _, event in self.got if event["type"] != "connect"]) < count:
                self._news.clear()
                await self._news.wait()
        return found

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
        mine = base64.b64encode(hmac.new(self.key.encode(), signed + body, hashlib.sha256).digest()).decode()
        if headers["webhook-signature"] != f"v1,{mine}":
            return web.Response(status=401)
        said: dict[str, Any] | bytes = self.manifest
        if request.method == "POST":
            event = msgspec.json.decode(body)
            self.got.append((headers, event))
            self._news.set()
            said = self.replies.get(event["type"], b"")
        status = self.statuses.pop(0) if self.statuses else 200
        out = said if isinstance(said, bytes) else msgspec.json.encode(said)
        signature = base64.b64encode(self.private.sign(signed + out)).decode() if self.signs else ""
        headers_out = {"webhook-signature": f"v1a,{signature}"}
        if 300 <= status < 400:
            headers_out["location"] = self.url
        return web.Response(status=status, body=out, headers=headers_out)


@asynccontextmanager
async def app_program() -> AsyncIterator[AppProgram]:
    made = AppProgram()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made._take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/app"
        yield made
    finally:
        await runner.cleanup()
