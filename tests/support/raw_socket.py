"""A WebSocket client of bare bytes, which sends what no library would."""

import asyncio
import base64
import json
import os
from typing import Any, Self

PATH = "/ws/socket.io/?EIO=4&transport=websocket"


def frame(payload: bytes, opcode: int = 1, *, last: bool = True, length: int | None = None) -> bytes:
    """One masked frame. length: what its head claims, if not the truth."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if last else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 2**16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    # A mask of zeros leaves the payload as it is.
    return head + bytes(4) + payload


class RawSocket:
    """A connection to a server's sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int, **headers: str) -> Self:
        """Shakes hands for a WebSocket. headers: more of them."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n".encode()
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
            + b"\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        return cls(reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def send(self, *frames: bytes) -> None:
        """Writes bytes; a connection that the server has closed takes them without an error."""
        try:
            self._writer.write(b"".join(frames))
            await self._writer.drain()
        except ConnectionError:
            pass

    async def say(self, *texts: str) -> None:
        await self.send(*(frame(text.encode()) for text in texts))

    async def sign_in(self, token: str | None) -> None:
        """Enters the server, and waits until it says so."""
        await self.say("40" + json.dumps({"token": token}))
        async with asyncio.timeout(30):
            while not (await self.text()).startswith("40{"):
                pass

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Emits an event and returns its acknowledgement."""
        await self.say("4277" + json.dumps([name, *arguments]))
        async with asyncio.timeout(30):
            while not (text := await self.text()).startswith("4377"):
                pass
        return json.loads(text[4:])

    async def text(self) -> str:
        """The next frame's payload. Raises EOFError when the connection is closed."""
        opcode, size = await self._reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8), "big")
        payload = await self._reader.readexactly(size)
        if opcode & 15 == 8:
            raise EOFError(payload)
        return payload.decode()

    async def heard_until_over(self, timeout: float = 30) -> list[str]:
        """What comes until the server closes; raises TimeoutError when it does not."""
        heard: list[str] = []
        async with asyncio.timeout(timeout):
            while True:
                try:
                    heard.append(await self.text())
                except (EOFError, ConnectionError):
                    return heard
