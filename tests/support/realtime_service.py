"""A service that speaks OpenAI's Realtime protocol, on a port of its own. It finds speech by its loudness, understands what
`understands` says, hands each wish to the chat's model (or speaks itself), and says answers as a tone as long as their words.
"""

import array
import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tests.support.speech_service import KEY, tone

RATE = 24_000
# Samples of sound for each word, of silence after which somebody has stopped, and the value from which a sound is loud.
A_WORD = RATE // 4
PAUSE = RATE * 2 // 5
LOUD = 600
WORD = tone(A_WORD / RATE, rate=RATE, loud=0.2)[44:]


class RealtimeService:
    """The running service. mood: well, deaf (it never takes the settings), refusing (the settings), and once it heard speech:
    closing, error (an event of it), huge (a frame of 8 MB), untold (no transcription).

    delegates: whether it calls the function; otherwise it says `says`. words: lets it say each word, where it is set.
    """

    def __init__(self) -> None:
        self.mood = "well"
        self.understands: list[str] = []
        self.delegates = True
        self.says = "Good morning to you"
        self.words: asyncio.Semaphore | None = None
        self.url = ""
        # Headers of each call, and all events of all of them in their order.
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.told = asyncio.Condition()
        self.open = 0

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind that pages' calls have sent."""
        return [event for event in self.events if event["type"] == kind]

    async def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of a kind, once there are so many."""
        async with asyncio.timeout(60), self.told:
            await self.told.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def until_closed(self) -> None:
        """Once no call is open."""
        async with asyncio.timeout(60), self.told:
            await self.told.wait_for(lambda: self.open == 0)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.headers.append(headers)
        self.paths.append(request.path_qs)
        if KEY not in (headers.get("authorization", ""), headers.get("api-key")) and (
            headers.get("authorization") != f"Bearer {KEY}"
        ):
            return web.json_response({"error": {"message": f"no such key {KEY}"}}, status=401)
        socket = web.WebSocketResponse(max_msg_size=2**24)
        await socket.prepare(request)
        self.open += 1
        try:
            await _Session(self, socket).run()
        finally:
            self.open -= 1
            async with self.told:
                self.told.notify_all()
        return socket


class _Session:
    def __init__(self, service: RealtimeService, socket: web.WebSocketResponse) -> None:
        self.service, self.socket = service, socket
        self.n = 0
        self.item = ""
        self.quiet = self.samples = 0
        self.speaking: asyncio.Task[None] | None = None
        self.response = ""

    async def say(self, kind: str, **fields: Any) -> None:
        with suppress(ConnectionError, RuntimeError):
            await self.socket.send_str(msgspec.json.encode({"type": kind, "event_id": self.id("ev")} | fields).decode())

    def id(self, kind: str) -> str:
        self.n += 1
        return f"{kind}_{self.n}"

    async def run(self) -> None:
        await self.say("session.created", session={"instructions": "secret of the service"})
        async for message in self.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            event = msgspec.json.decode(message.data)
            await self.on(event)
            self.service.events.append(event)
            async with self.service.told:
                self.service.told.notify_all()
        if self.speaking is not None:
            self.speaking.cancel()

    async def on(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update" if self.service.mood == "refusing":
                await self.say("error", error={"message": f"no such voice, says {KEY}", "event_id": None})
            case "session.update" if self.service.mood != "deaf":
                await self.say("session.updated", session=event["session"])
            case "input_audio_buffer.append":
                await self.listen(base64.b64decode(event["audio"]))
            case "response.create":
                self.speaking = asyncio.create_task(self.respond(event["response"]))
            case "response.cancel":
                await self.cancel(event)
            case "conversation.item.truncate" if event["audio_end_ms"] > 3_600_000:
                await self.say("error", error={"message": "too long", "event_id": event.get("event_id")})

    async def listen(self, sound: bytes) -> None:
        """Finds where somebody begins to speak, and where they stop."""
        samples = array.array("h", sound)
        self.samples += len(samples)
        if max(map(abs, samples)) > LOUD:
            self.quiet = 0
            if not self.item:
                self.item = self.id("item")
                await self.say("input_audio_buffer.speech_started", item_id=self.item, audio_start_ms=0)
        elif self.item:
            self.quiet += len(samples)
            if self.quiet >= PAUSE:
                item, self.item, self.quiet = self.item, "", 0
                await self.understood(item)

    async def understood(self, item: str) -> None:
        service = self.service
        await self.say("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=self.samples * 1000 // RATE)
        kind = "conversation.item.input_audio_transcription"
        match service.mood:
            case "closing":
                await self.socket.close()
            case "error":
                await self.say("error", error={"message": f"out of order, says {KEY}", "event_id": None})
            case "huge":
                await self.say("response.output_audio.delta", delta="x" * 2**23)
            case "untold":
                await self.say(f"{kind}.failed", item_id=item, content_index=0, error={"message": "x"})
            case _:
                text = service.understands.pop(0) if service.understands else ""
                await self.say(f"{kind}.completed", item_id=item, content_index=0, transcript=text)

    async def respond(self, wanted: dict[str, Any]) -> None:
        service, metadata = self.service, wanted["metadata"]
        self.response = response = self.id("resp")
        about: dict[str, Any] = {"id": response, "status": "in_progress", "metadata": metadata}
        await self.say("response.created", response=about | {"instructions": "secret of the service"})
        if "input_item_id" in metadata and service.delegates:
            item = {"id": self.id("item"), "type": "function_call", "status": "completed",
                    "name": "generate_chat_completion", "call_id": self.id("call"),
                    "arguments": '{"request": "what was asked"}'}  # fmt: skip
            await self.say("response.output_item.done", response_id=response, output_index=0, item=item)
        else:
            text = service.says
            if "call_id" in metadata:
                [given] = [e["item"] for e in service.of("conversation.item.create")][-1:]
                text = msgspec.json.decode(given["output"])["answer"]
            await self.speak(response, text)
        usage = {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42}
        await self.say("response.done", response=about | {"status": "completed", "usage": usage})
        self.response = ""

    async def speak(self, response: str, text: str) -> None:
        item = self.id("item")
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        for number, word in enumerate(text.split()):
            if self.service.words is not None:
                await self.service.words.acquire()
            said = word if not number else f" {word}"
            await self.say("response.output_audio_transcript.delta", **place, delta=said)
            await self.say("response.output_audio.delta", **place, delta=base64.b64encode(WORD).decode())
        await self.say("response.output_audio.done", **place)
        await self.say("response.output_audio_transcript.done", **place, transcript=text)

    async def cancel(self, event: dict[str, Any]) -> None:
        if not self.response or event["response_id"] != self.response or self.speaking is None:
            await self.say("error", error={"message": "nothing to cancel", "event_id": event.get("event_id")})
            return
        self.speaking.cancel()
        done = {"id": self.response, "status": "cancelled", "metadata": {}, "usage": {"input_tokens": 5}}
        self.response = ""
        await self.say("response.done", response=done)


@asynccontextmanager
async def realtime_service() -> AsyncIterator[RealtimeService]:
    """The service on a free port of 127.0.0.1."""
    service = RealtimeService()
    app = web.Application()
    app.router.add_get("/v1/realtime", service.handle)
    app.router.add_get("/openai/v1/realtime", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()
