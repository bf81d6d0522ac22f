"""A service on loopback for tests: it notes what it is asked, and answers as a test tells it to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Asked:
    """A request that arrived."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.method = request.method
        self.path = request.path
        self.query = dict(request.query)
        self.headers = request.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked], web.StreamResponse | Awaitable[web.StreamResponse]]


class Service:
    """asked: all requests, in order. answer: what makes a response; `reply` sets one that is always the same."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Answer = lambda _: web.Response(status=404)
        self.url = ""

    def reply(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """JSON, or a text as HTML, for every request."""
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        self.answer = lambda _: web.Response(text=text, status=status, headers=headers, content_type=kind)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request, await request.read())
        self.asked.append(asked)
        found = self.answer(asked)
        return found if isinstance(found, web.StreamResponse) else await found


@asynccontextmanager
async def a_service() -> AsyncIterator[Service]:
    """One that runs as long as the context."""
    service = Service()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", service._handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield service
    finally:
        await runner.cleanup()
