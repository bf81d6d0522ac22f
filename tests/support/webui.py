"""A server that speaks text-generation-webui's API: OpenAI's completions, and the internal paths that list and load models.

It says back the last words of the prompt, so that a test sees which prompt came; `received` has the bodies.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

MODELS = ("llama2", "gpt-j-6b", "broken")


class WebUI:
    """The running server. loaded: its model. api_key: what it demands. pause: seconds before each word of an answer."""

    def __init__(self) -> None:
        self.api_key: str | None = None
        self.loaded = "None"
        self.loads: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.pause = 0.0
        self.port = 0
        self.left = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._authorized])
        app.router.add_get("/v1/internal/model/info", self._info)
        app.router.add_get("/v1/internal/model/list", self._list)
        app.router.add_post("/v1/internal/model/load", self._load)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/chat/completions", self._completions)
        return app

    @web.middleware
    async def _authorized(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"detail": "Unauthorized"}, status=401)
        return await handler(request)

    async def _info(self, _request: web.Request) -> web.Response:
        return web.json_response({"model_name": self.loaded, "lora_names": [], "loader": "llama.cpp"})

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"model_names": list(MODELS)})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.loads.append(body)
        await asyncio.sleep(0.01)
        if body["model_name"] not in MODELS or body["model_name"] == "broken":
            self.loaded = "None"
            return web.json_response({"detail": "Failed to load the model."}, status=500)
        self.loaded = body["model_name"]
        return web.json_response("OK")

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.received.append(body)
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        words = [f"{word} " for word in f"{self.loaded} on {prompt}".split()]
        if not body.get("stream"):
            await asyncio.sleep(self.pause)
            return web.json_response(self._body("".join(words).strip(), "stop", chat="messages" in body, whole=True))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b": ping\r\n\r\n")
            for word in words:
                await asyncio.sleep(self.pause)
                await self._say(response, self._body(word, None, chat="messages" in body))
            await self._say(response, self._body("", "stop", chat="messages" in body))
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    async def _say(self, response: web.StreamResponse, body: dict[str, Any]) -> None:
        # In two pieces, as a network may cut it.
        line = b"data: " + json.dumps(body).encode() + b"\r\n\r\n"
        await response.write(line[:20])
        await response.write(line[20:])

    def _body(self, text: str, reason: str | None, *, chat: bool, whole: bool = False) -> dict[str, Any]:
        said: dict[str, Any] = {"text": text}
        if chat:
            said = {"message" if whole else "delta": {"role": "assistant", "content": text}}
        return {"id": "1", "model": self.loaded, "choices": [{"index": 0, "finish_reason": reason, **said}]}


@asynccontextmanager
async def serve(port: int = 0) -> AsyncIterator[WebUI]:
    """The server on a port of the loopback address, 0 for a free one."""
    server = WebUI()
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
