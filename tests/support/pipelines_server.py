"""A pipelines server for the tests: models, filters and their settings, over real HTTP in the test's own event loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

KEY = "k-pipelines"
SPEC = {"title": "Valves", "type": "object", "properties": {"limit": {"type": "integer", "default": 3}}}
Look = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | web.Response]


class PipelinesServer:
    """The running server. filters: by id, what `inlet` and `outlet` make of a body for a user. received: each request."""

    def __init__(self) -> None:
        self.url = ""
        self.models: list[dict[str, Any]] = [self.model("talker", "pipe")]
        self.filters: dict[tuple[str, str], Look] = {}
        self.valves: dict[str, Any] = {"limit": 3}
        self.received: list[tuple[str, str, str, Any]] = []
        self.is_pipelines = True
        self.runner: web.AppRunner | None = None

    async def stop(self) -> None:
        """Nobody answers at its address any more."""
        if self.runner is not None:
            await self.runner.cleanup()

    @staticmethod
    def model(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"id": name, "name": name.title(), "object": "model", "created": 1, "owned_by": "openai",
                "pipeline": {"type": kind, "valves": True} | more}  # fmt: skip

    def add_filter(self, name: str, look: dict[str, Look], **more: Any) -> None:
        """A filter for the models `pipelines`, run by its `priority`."""
        self.models.append(self.model(name, "filter", **more))
        self.filters |= {(name, hook): what for hook, what in look.items()}

    def asked(self, ending: str) -> list[Any]:
        """The bodies of requests whose path ends so."""
        return [body for _, path, _, body in self.received if path.endswith(ending)]

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - a case for each path
        is_form = request.content_type.startswith("multipart/")
        body: Any = await request.json() if request.can_read_body and not is_form else None
        if is_form:
            sent: Any = (await request.post())["file"]
            body = (sent.filename, sent.file.read())
        self.received.append((request.method, request.path, request.headers.get("authorization", ""), body))
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": "who?"}, status=403)
        parts = request.path.strip("/").split("/")
        if parts[-2:-1] == ["filter"]:
            return self._look(parts[-3], parts[-1], body)
        match request.method, parts:
            case _, ["models"]:
                data = {"data": self.models, "object": "list"}
                return web.json_response(data | ({"pipelines": True} if self.is_pipelines else {}))
            case _, ["pipelines"]:
                found = [{"id": m["id"], "name": m["name"], "type": m["pipeline"]["type"]} for m in self.models]
                return web.json_response({"data": found})
            case "POST", ["pipelines", "add" | "upload"]:
                return web.json_response({"status": True})
            case "DELETE", ["pipelines", "delete"]:
                known = body["id"] in {m["id"] for m in self.models}
                answer = {"status": True} if known else {"detail": "no such pipeline"}
                return web.json_response(answer, status=200 if known else 404)
            case _, ["talker", "valves"]:
                return web.json_response(self.valves)
            case _, ["talker", "valves", "spec"]:
                return web.json_response(SPEC)
            case _, ["talker", "valves", "update"]:
                self.valves |= body
                return web.json_response(self.valves)
            case "POST", ["chat", "completions"]:
                choice = {"index": 0, "message": {"role": "assistant", "content": "I talk."}, "finish_reason": "stop"}
                return web.json_response({"object": "chat.completion", "choices": [choice]})
        return web.json_response({"detail": "Not Found"}, status=404)

    def _look(self, name: str, hook: str, asked: dict[str, Any]) -> web.Response:
        look = self.filters.get((name, hook))
        if look is None:
            # As a server of the kind does for what has no such hook.
            known = name in {m["id"] for m in self.models}
            return web.json_response(asked["body"]) if known else web.json_response({"detail": "none"}, status=404)
        said = look(asked["body"], asked["user"])
        return said if isinstance(said, web.Response) else web.json_response(said)


@asynccontextmanager
async def open_pipelines_server() -> AsyncIterator[PipelinesServer]:
    server = PipelinesServer()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = server.runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
