"""Engines of pictures on loopback: OpenAI, Gemini, Automatic1111 and ComfyUI with its websocket, as one server plays them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.pictures import png


class Engines:
    """What was asked is in `asked`, by path; forms as their parts' names and values. pictures: what is given, each once more.

    hold: requests wait for it. broken: the body of every answer, with `status`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.pictures: list[bytes] = [png(1)]
        self.hold: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.broken: str | None = None
        self.status = 200
        self.as_urls: list[str] | None = None
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.done: dict[str, Any] = {}
        self.fails = False
        # Where its websocket sends who asks.
        self.socket_at: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def bodies(self, path: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ws" and self.socket_at is not None:
            return web.Response(status=302, headers={"location": self.socket_at})
        if request.path == "/ws":
            return await self._socket(request)
        self.asked.append((request.path, await _body(request)))
        self.headers.append(dict(request.headers))
        if self.broken is not None:
            return web.Response(text=self.broken, status=self.status, content_type="application/json")
        held = request.path not in {"/prompt", "/queue", "/interrupt", "/upload/image"} and request.method == "POST"
        if held and "interrupt" not in request.path:
            await self._wait()
        return await self._answer(request)

    async def _wait(self) -> None:
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/prompt":
            return await self._queued(self.bodies("/prompt")[-1])
        if path in {"/file.png", "/view"}:
            return web.Response(body=self.pictures[0], content_type="image/png")
        if path == "/away":
            return web.Response(status=302, headers={"location": "/file.png"})
        if path.startswith("/history/"):
            prompt_id = path.rpartition("/")[2]
            return web.json_response({prompt_id: self.done[prompt_id]} if prompt_id in self.done else {})
        return web.json_response(self._json(path))

    def _json(self, path: str) -> Any:
        encoded = [base64.b64encode(one).decode() for one in self.pictures]
        parts = [{"text": "Here"}, {"inlineData": {"mimeType": "image/png", "data": encoded[0]}}]
        checkpoints = {"required": {"ckpt_name": [["one.safetensors", "two.safetensors"], {}]}}
        drawn = {"images": encoded, "info": json.dumps({"seed": 7, "all_seeds": [7, 8, 9]})}
        data = (
            [{"b64_json": one} for one in encoded] if self.as_urls is None else [{"url": url} for url in self.as_urls]
        )
        answers: dict[str, Any] = {
            "images/generations": {"created": 1, "data": data},
            "images/edits": {"created": 1, "data": data},
            "sdapi/v1/txt2img": drawn,
            "sdapi/v1/img2img": drawn,
            "sdapi/v1/progress": {"progress": 0.5},
            "sdapi/v1/sd-models": [{"title": "sd [abc]", "model_name": "sd"}],
            "upload/image": {"name": "in.png", "subfolder": "", "type": "input"},
            "object_info": {"CheckpointLoaderSimple": {"input": checkpoints}},
            "predict": {"predictions": [{"bytesBase64Encoded": one} for one in encoded]},
            "generateContent": {"candidates": [{"content": {"parts": parts}}]},
        }
        return answers.get(path.rpartition(":")[2].lstrip("/"), {})

    async def _queued(self, body: Any) -> web.Response:
        prompt_id = f"order-{len(self.bodies('/prompt'))}"
        task = asyncio.create_task(self._draw(prompt_id, body["client_id"]))
        self._tasks.add(task)
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def _draw(self, prompt_id: str, client: str) -> None:
        async def say(kind: str, **data: Any) -> None:
            socket = self.sockets.get(client)
            if socket is not None and not socket.closed:
                await socket.send_json({"type": kind, "data": data | {"prompt_id": prompt_id}})

        await say("status", queue=1)
        await say("execution_start")
        await say("progress", value=5, max=10)
        await self._wait()
        if self.fails:
            messages = [["execution_error", {"exception_message": "No such checkpoint."}]]
            self.done[prompt_id] = {"outputs": {}, "status": {"status_str": "error", "messages": messages}}
        else:
            image = {"filename": "a b.png", "subfolder": "", "type": "output"}
            self.done[prompt_id] = {"outputs": {"9": {"images": [image]}}, "status": {"status_str": "success"}}
        await say("executing", node=None)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[request.query["clientId"]] = socket
        async for _ in socket:
            pass
        return socket

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.hold is not None:
            self.hold.set()


async def _body(request: web.Request) -> Any:
    if request.content_type == "multipart/form-data":
        form = await request.post()
        return [
            (name, value.file.read() if isinstance(value, web.FileField) else value) for name, value in form.items()
        ]
    data = await request.read()
    return json.loads(data) if data else None


@asynccontextmanager
async def engines() -> AsyncIterator[Engines]:
    """One that plays them all as long as the context."""
    played = Engines()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", played.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield played
    finally:
        await played.close()
        await runner.cleanup()
