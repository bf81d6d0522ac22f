"""A page's side of a call: what it says and hears over its websocket."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from tests.support.live import Live
from tests.support.realtime_service import PAUSE, RATE
from tests.support.server import Server
from tests.support.speech_service import tone

# 40 milliseconds, as pages send them.
PIECE = RATE * 2 // 25
SPEECH = tone(0.4, rate=RATE)[44:]
SILENCE = bytes(PAUSE * 2 + PIECE)


class Call:
    """One. heard: all events so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind} | fields)

    async def sound(self, samples: bytes) -> None:
        for at in range(0, len(samples), PIECE):
            piece = samples[at : at + PIECE]
            await self.say("input_audio_buffer.append", audio=base64.b64encode(piece).decode())

    async def speak(self) -> str:
        """Says something, and returns the id of its item once it was understood."""
        await self.sound(SPEECH + SILENCE)
        return str((await self.until("conversation.item.input_audio_transcription.completed"))["item_id"])

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        async with asyncio.timeout(60):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, (message, self.socket.close_code, self.heard[-3:])
                event = msgspec.json.decode(message.data)
                self.heard.append(event)
                if event["type"] == kind:
                    return event  # type: ignore[no-any-return]

    async def ended(self) -> tuple[int | None, str]:
        """The code with which it ends, and the sentence that its page shows."""
        async with asyncio.timeout(60):
            async for message in self.socket:
                self.heard.append(msgspec.json.decode(message.data))
        said = [event["message"] for event in self.heard if event["type"] == "bridge.error"]
        return self.socket.close_code, said[-1] if said else ""


@asynccontextmanager
async def dialled(live: Live | Server, **options: Any) -> AsyncIterator[Call]:
    """A websocket that has said nothing yet."""
    async with (
        aiohttp.ClientSession(cookies=options.pop("cookies", None)) as http,
        http.ws_connect(f"{live.url}/api/v1/audio/realtime", max_msg_size=2**24, **options) as socket,
    ):
        yield Call(socket)


@asynccontextmanager
async def called(live: Live | Server, token: str, model: str = "fixed", chat: str | None = None) -> AsyncIterator[Call]:
    """A call that has begun."""
    async with dialled(live, origin=live.url) as call:
        await call.say("auth", token=token, model_id=model, chat_id=chat)
        ready = await call.until("bridge.ready")
        assert ready["sample_rate"] == RATE
        yield call
