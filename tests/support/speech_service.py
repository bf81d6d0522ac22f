"""Services of speech for the tests, on one port and over real HTTP: OpenAI's wire, ElevenLabs', Azure's, Deepgram's, Mistral's.

What they speak is a real WAV file, and what they hear is what `heard` says.
"""

import asyncio
import base64
import io
import math
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

KEY = "sk-of-the-service"


def tone(seconds: float = 0.2, *, rate: int = 16_000, loud: float = 0.3, pitch: float = 440.0) -> bytes:
    """A WAV file of one note; loud 0: of silence."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        values = (int(32767 * loud * math.sin(2 * math.pi * pitch * n / rate)) for n in range(int(seconds * rate)))
        file.writeframes(b"".join(struct.pack("<h", value) for value in values))
    return made.getvalue()


WAV = tone()


class SpeechService:
    """The running services. mood: well, failing (500 with the key in its words), odd (HTML with 200), empty (no bytes), cut (half
    of it, then the connection ends), held (the second half waits for `release`).
    """

    def __init__(self) -> None:
        self.mood = "well"
        self.heard: list[str] = ["hello from the service"]
        # Method and path, headers, and the body: an object, bytes, or a form's fields.
        self.received: list[tuple[str, dict[str, str], Any]] = []
        self.lists = True
        self.release = asyncio.Event()
        self.left = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body: Any = None
        if request.content_type == "multipart/form-data":
            body = {}
            async for part in await request.multipart():
                body[part.name] = (part.filename, bytes(await part.read())) if part.filename else await part.text()
        else:
            raw = await request.read()
            body = msgspec.json.decode(raw) if request.content_type == "application/json" and raw else raw
        self.received.append((f"{request.method} {request.path_qs}", dict(request.headers), body))
        match self.mood:
            case "failing":
                return web.json_response({"error": {"message": f"Out of order, {KEY}."}}, status=500)
            case "odd":
                return web.Response(text="<html>Sign in</html>", content_type="text/html")
        if request.method == "GET":
            return self._list(request.path)
        if request.path.endswith(("/speech", "/stream", "/cognitiveservices/v1")):
            return await self._speak(request)
        if len(self.heard) == 1:
            await self._held_up()
        return web.json_response(self._hear(request))

    async def _held_up(self) -> None:
        """With the last of what it hears."""
        match self.mood:
            case "failing later":
                raise web.HTTPInternalServerError(text="{}", content_type="application/json")
            case "held":
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.left.set()
                    raise

    def _list(self, path: str) -> web.Response:
        if not self.lists:
            raise web.HTTPNotFound
        lists: dict[str, Any] = {
            "/v1/audio/voices": {"voices": [{"id": "ada", "name": "Ada"}], "items": [{"id": "v1", "name": "Marie"}]},
            "/v1/audio/models": {"models": [{"id": "speaks-1"}]},
            "/v1/models": [{"model_id": "eleven_v3", "name": "Eleven v3"}],
            "/v1/voices": {"voices": [{"voice_id": "x1", "name": "Rachel"}, {"name": 3}]},
            "/cognitiveservices/voices/list": [{"ShortName": "en-US-JennyNeural", "DisplayName": "Jenny"}],
            "/mistral/models": {"data": [{"id": "voxtral-mini-tts"}, {"id": "large"}]},
            "/mistral/audio/voices": {"items": [{"id": "v1", "name": "Marie"}]},
        }
        return web.json_response(lists[path])

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/mistral"):
            return web.json_response({"audio_data": base64.b64encode(WAV).decode()})
        response = web.StreamResponse(headers={"content-type": "audio/wav"})
        await response.prepare(request)
        if self.mood == "empty":
            return response
        half = len(WAV) // 2
        try:
            await response.write(WAV[:half])
            if self.mood == "cut":
                assert request.transport is not None
                request.transport.abort()
                return response
            if self.mood == "held":
                await self.release.wait()
            await response.write(WAV[half:])
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    def _hear(self, request: web.Request) -> dict[str, Any]:
        text = self.heard.pop(0) if len(self.heard) > 1 else self.heard[0]
        if request.path == "/v1/listen":
            channel = {"alternatives": [{"transcript": text}], "detected_language": "en"}
            return {"metadata": {"duration": 1.5}, "results": {"channels": [channel]}}
        if request.path.startswith("/speechtotext"):
            phrase = {"offsetMilliseconds": 500, "durationMilliseconds": 1000, "text": text, "speaker": 2}
            return {"durationMilliseconds": 1500, "combinedPhrases": [{"text": text}], "phrases": [phrase]}
        if request.path.endswith("/chat/completions"):
            return {"choices": [{"message": {"content": text}}]}
        segments = [{"start": 0.0, "end": 1.5, "text": f" {text}"}]
        return {"text": text, "language": "english", "duration": 1.5, "segments": segments}


@asynccontextmanager
async def speech_service() -> AsyncIterator[SpeechService]:
    """The services, on a free port."""
    service = SpeechService()
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    service.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield service
    finally:
        service.release.set()
        await runner.cleanup()
