"""A terminal server for the tests: a document of functions, files of every kind, and a shell on a pseudo terminal."""

import asyncio
import contextlib
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

KEY = "k-terminal"
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Terminal", "version": "1"},
    "paths": {
        "/execute": {
            "post": {
                "operationId": "run_command",
                "requestBody": {"content": {"application/json": {"schema": {
                    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}}},
            }
        }
    },
}  # fmt: skip
# What each path answers: a media type, and a body.
FILES: dict[str, tuple[str, bytes]] = {
    "/page.html": ("text/html; charset=utf-8", b"<script>alert(1)</script>"),
    "/picture.svg": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    "/code.js": ("text/javascript", b"alert(1)"),
    "/style.css": ("text/css", b"a {}"),
    "/data.bin": ("application/octet-stream", bytes(range(256)) * 4096),
}
EVIL = {
    "Set-Cookie": "token=theirs; Path=/", "Content-Security-Policy": "script-src *", "Access-Control-Allow-Origin": "*",
    "Clear-Site-Data": '"*"', "Service-Worker-Allowed": "/", "Refresh": "0; url=https://evil.example",
    "Content-Disposition": "inline; filename=x", "ETag": '"1"',
}  # fmt: skip


class TerminalServer:
    """The running server. received: method, path with query, and headers of each request. gate: lets `/slow` go on."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[tuple[str, str, dict[str, str]]] = []
        self.uploaded = 0
        self.prompt = ""
        self.gate = asyncio.Event()
        self.gone = asyncio.Event()
        self.open_sockets: set[web.WebSocketResponse] = set()
        self.socket_closed = asyncio.Event()
        self.policies: dict[str, Any] | None = None

    def entry(self, **more: Any) -> dict[str, Any]:
        """How an admin sets it up."""
        return {"id": "box", "name": "Box", "url": self.url, "key": KEY, "auth_type": "bearer"} | more

    def asked(self, path: str) -> list[tuple[str, str, dict[str, str]]]:
        """The requests for a path."""
        return [request for request in self.received if request[1].partition("?")[0] == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: C901, PLR0911, PLR0912 - a case for each path
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.received.append((request.method, request.path_qs, headers))
        if request.path.startswith("/api/terminals/"):
            return await self._shell(request)
        if headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": "who?"}, status=401)
        path = request.path.removeprefix("/p/default")
        if path in FILES:
            kind, body = FILES[path]
            return web.Response(body=body, headers=EVIL | {"Content-Type": kind})
        match path:
            case "/openapi.json":
                return web.json_response(DOCUMENT)
            case "/execute":
                return web.json_response({"output": (await request.json())["command"].upper()})
            case "/system" if self.prompt:
                return web.json_response({"prompt": self.prompt})
            case "/api/config":
                return web.json_response({"features": {"terminal": True}})
            case "/upload":
                async for part in request.content.iter_any():
                    self.uploaded += len(part)
                return web.json_response({"size": self.uploaded})
            case "/here":
                raise web.HTTPTemporaryRedirect("/there?a=1")
            case "/away":
                raise web.HTTPFound("http://127.0.0.2:9/")
            case "/slow":
                return await self._slow(request)
            case "/broken":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        if path.startswith("/api/v1/policies") and self.policies is not None:
            return web.json_response(self.policies if request.method == "GET" else await request.json())
        if path == "/echo":
            return web.json_response(
                {"method": request.method, "query": request.rel_url.raw_query_string, "body": await request.text()}
            )
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            await answer.write(b"data: 1\n\n")
            await self.gate.wait()
            await answer.write(b"data: 2\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        return answer

    async def _shell(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            first = await socket.receive_json()
        except (TypeError, ValueError):
            first = {}
        if first != {"type": "auth", "token": KEY} or request.headers.get("x-user-id") != request.query.get("user_id"):
            await socket.close(code=4001, message=b"who?")
            return socket
        self.open_sockets.add(socket)
        try:
            await self._run(socket)
        finally:
            self.open_sockets.discard(socket)
            self.socket_closed.set()
        return socket

    async def _run(self, socket: web.WebSocketResponse) -> None:
        """A shell, as the socket's bytes have it; a text message comes back as it is."""
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", "stty -echo; exec /bin/sh", stdin=slave, stdout=slave, stderr=slave,
            env={"PS1": "", "PATH": os.environ["PATH"]}, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        said: asyncio.Queue[bytes] = asyncio.Queue()

        def read() -> None:
            try:
                said.put_nowait(os.read(master, 65_536))
            except OSError:
                loop.remove_reader(master)
                said.put_nowait(b"")

        async def tell() -> None:
            while data := await said.get():
                await socket.send_bytes(data)
            await socket.close(code=4000, message=b"over")

        loop.add_reader(master, read)
        telling = asyncio.create_task(tell())
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    os.write(master, message.data)
                else:
                    await socket.send_str(message.data)
        finally:
            telling.cancel()
            loop.remove_reader(master)
            os.close(master)
            with contextlib.suppress(ProcessLookupError):
                shell.kill()
            await shell.wait()


@asynccontextmanager
async def open_terminal_server() -> AsyncIterator[TerminalServer]:
    server = TerminalServer()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
