"""Chats as people have them: tabs over real sockets, at the pace of reading. What run.py's `reading` and `tabs` measure.

A tab is a WebSocket by hand that looks for a few bytes in what it hears: a library's client would take more of the two
cores than the server under test.
"""

import asyncio
import base64
import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

from measure import Client


@dataclass
class Chat:
    """One answer. first, total: seconds after its question was sent. frames: deltas that its tab heard of it.
    results: of tools.
    """

    whole: bool
    first: float
    total: float
    frames: int
    results: int = 0


class Tab:
    """One open page: its socket, and the answer it waits for. foreign: deltas that it heard of other chats."""

    def __init__(self, port: int, token: str, asked: int | None = None) -> None:
        """port: of the server that has the socket. asked: of the one that gets the requests; the same where it is None."""
        self.port = port
        self.http = Client(asked or port, token)
        self.foreign = 0
        self.frames = 0
        self.first = 0.0
        self._answer = b""
        self._over: asyncio.Future[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        host, port = self.http.host, self.port
        self._reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 24)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1", f"host: {host}:{port}", "upgrade: websocket",
                 "connection: Upgrade", f"sec-websocket-key: {key}", "sec-websocket-version: 13", "", ""]  # fmt: skip
        self._writer.write("\r\n".join(lines).encode())
        await self._reader.readuntil(b"\r\n\r\n")
        self._send("40" + json.dumps({"token": self.http.token}))
        while not (message := await self._message()).startswith(b"40"):
            pass
        self.sid = json.loads(message[2:])["sid"]
        self._send("42" + json.dumps(["user-join", {"auth": {"token": self.http.token}}]))
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        self._writer.close()
        self.http.close()

    @property
    def is_open(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def ask(self) -> float:
        """Seconds until the server has answered an event of this socket."""
        self._over = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._send('4277["usage",{"model":"none"}]')
        await asyncio.wait_for(self._over, 60)
        return time.perf_counter() - began

    async def chat(self, model: str, tokens: int, **more: Any) -> Chat:
        """A question in a new chat, which the tab joins when it has the reply, and the whole of its answer.

        more: fields of the question.
        """
        asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
        self._answer, self.frames, self.first = answered.encode(), 0, 0.0
        self._over = asyncio.get_running_loop().create_future()
        question = {"id": asked, "parentId": None, "childrenIds": [answered], "role": "user", "content": "Go on."}
        body = {
            "stream": True, "model": model, "params": {"max_tokens": tokens}, "session_id": self.sid, "id": answered,
            "parent_id": None, "user_message": question, "background_tasks": {}, **more,
        }  # fmt: skip
        began = time.perf_counter()
        reply = (await self.http.post("/api/chat/completions", body)).json()
        self._send("42" + json.dumps(["events:chat", {"chat_id": reply["chat_id"], "data": {"type": "join"}}]))
        heard = json.loads(await asyncio.wait_for(self._over, 180))[1]["data"]["data"]["output"][-1]["content"][0][
            "text"
        ]
        took = time.perf_counter() - began
        saved = (await self.http.get(f"/api/v1/chats/{reply['chat_id']}")).json()
        kept: dict[str, Any] = saved["chat"]["history"]["messages"][answered]
        whole = len(heard.split()) == tokens and kept["content"] == heard
        results = sum(item.get("type") == "function_call_output" for item in kept.get("output") or ())
        return Chat(whole, (self.first or time.perf_counter()) - began, took, self.frames, results)

    def _send(self, text: str) -> None:
        payload = text.encode()
        size = len(payload)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        # A mask of zeros is a mask.
        self._writer.write(head + b"\0\0\0\0" + payload)

    async def _message(self) -> bytes:
        head = await self._reader.readexactly(2)
        size = head[1]
        if size > 125:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
        payload = await self._reader.readexactly(size)
        if head[0] == 0x89:  # a ping of the protocol's own
            self._writer.write(bytes((0x8A, 0x80 | size)) + b"\0\0\0\0" + payload)
        if head[0] == 0x88:  # the server closes: so does this side
            self._writer.write(b"\x88\x80\0\0\0\0")
            raise asyncio.IncompleteReadError(b"", None)
        return payload

    async def _read(self) -> None:
        while True:
            try:
                message = await self._message()
            except asyncio.IncompleteReadError:
                return
            if message == b"2":
                self._send("3")
            elif message.startswith(b"4377"):
                if self._over is not None:
                    self._over.set_result(message)
            elif b'"type":"response:completion"' in message:
                if self._answer not in message:
                    self.foreign += 1
                    continue
                self.frames += 1
                if not self.first and b'"delta"' in message:
                    self.first = time.perf_counter()
            elif b'"done":true' in message and self._answer in message and self._over and not self._over.done():
                self._over.set_result(message[2:])
