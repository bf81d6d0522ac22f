"""A tool server for the tests: an OpenAPI document and what it describes, over real HTTP in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.pictures import png

ADD = {
    "operationId": "add",
    "summary": "Add two numbers",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pair"}}},
    },
}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Adder", "version": "1.0"},
    "paths": {
        "/add": {"post": ADD},
        "/echo/{name}": {
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "echo",
                "parameters": [
                    {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Mood", "in": "header", "schema": {"type": "string"}},
                ],
            },
        },
        "/picture": {"get": {"operationId": "picture"}},
        "/fails": {"get": {"operationId": "fails"}},
        "/slow": {"get": {"operationId": "slow"}},
        "/away": {"get": {"operationId": "away"}},
    },
    "components": {
        "schemas": {
            "Pair": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            }
        }
    },
}


class ToolServer:
    """The running server. received: method, path with query, headers and text of each request. key: what it demands.
    page: the origin of pages that may call it.
    """

    def __init__(self) -> None:
        self.document = DOCUMENT
        self.key: str | None = None
        self.page: str | None = None
        self.status = 200
        self.received: list[tuple[str, str, dict[str, str], str]] = []
        self.url = ""

    def asked(self, path: str) -> list[tuple[str, str, dict[str, str], str]]:
        """The requests for a path."""
        return [request for request in self.received if request[1].partition("?")[0] == path]

    def entry(self, **more: Any) -> dict[str, Any]:
        """How an admin sets it up."""
        return {
            "url": self.url, "path": "openapi.json", "type": "openapi", "auth_type": "none", "key": "",
            "config": {"enable": True}, "info": {"id": "adder", "name": "Adder", "description": "adds"},
        } | more  # fmt: skip

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.page is None:
            return await self._answer(request)
        reply = web.Response() if request.method == "OPTIONS" else await self._answer(request)
        reply.headers["access-control-allow-origin"] = self.page
        reply.headers["access-control-allow-headers"] = "authorization, content-type"
        return reply

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.received.append((request.method, request.path_qs, headers, await request.text()))
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return web.json_response({"detail": "who?"}, status=401)
        match request.path:
            case "/openapi.json":
                return web.json_response(self.document, status=self.status)
            case "/add":
                pair = await request.json()
                return web.json_response({"sum": pair["a"] + pair["b"]})
            case "/picture":
                return web.Response(body=png(), content_type="image/png")
            case "/fails":
                return web.Response(text="it is broken", status=500)
            case "/away":
                raise web.HTTPTemporaryRedirect("http://127.0.0.2:9/secret")
            case "/slow":
                await asyncio.Event().wait()
        return web.json_response({"path": request.path, "tags": request.query.getall("tags", [])})


@asynccontextmanager
async def open_tool_server() -> AsyncIterator[ToolServer]:
    server = ToolServer()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
