"""A second editor of a note: a Yjs document of its own (pycrdt), behind a real Socket.IO client, as pages have it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import socketio
from pycrdt import Doc, XmlElement, XmlFragment, XmlText

NOTHING = [0, 0]


class Editor:
    """Types into a note. `back` is whether it answers the question for all it has, as the official page does."""

    def __init__(self, url: str, token: str, note_id: str, *, answers: bool = True) -> None:
        self.url, self.token, self.note_id, self.answers = url, token, note_id, answers
        self.doc: Doc[Any] = Doc()
        self.root = self.doc.get("prosemirror", type=XmlFragment)
        self.socket = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, Any]] = []
        self.changed = asyncio.Event()
        self.synced = asyncio.Event()
        self.socket.on("*", self._on_event)

    @property
    def document(self) -> str:
        return f"note:{self.note_id}"

    @property
    def text(self) -> str:
        """All text, a line each block."""
        return "\n".join("".join(str(t) for t in block.children) for block in self.root.children)

    async def connect(self) -> "Editor":
        await self.socket.connect(
            self.url, auth={"token": self.token}, socketio_path="/ws/socket.io", transports=["websocket"],
            wait_timeout=30,
        )  # fmt: skip
        await self.socket.emit("join-note", {"note_id": self.note_id, "auth": {"token": self.token}})
        return self

    async def open(self) -> "Editor":
        await self.connect()
        await self.join()
        await asyncio.wait_for(self.synced.wait(), 30)
        return self

    async def join(self) -> None:
        self.synced.clear()
        who = {"user_id": "somebody", "user_name": "Somebody else", "user_color": "#abcdef"}
        await self.socket.emit("ydoc:document:join", {"document_id": self.document, **who})

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self.socket.disconnect()

    async def _on_event(self, name: str, data: Any) -> None:
        self.heard.append((name, data))
        if name == "ydoc:document:update":
            self.doc.apply_update(bytes(data["update"]))
        elif name == "ydoc:document:state":
            if data["state"] == NOTHING:
                if self.answers and len(self.root.children):
                    with contextlib.suppress(socketio.exceptions.BadNamespaceError):
                        await self.send(self.doc.get_update())
            else:
                self.doc.apply_update(bytes(data["state"]))
                self.synced.set()
        self.changed.set()

    def of(self, name: str) -> list[Any]:
        return [data for kind, data in self.heard if kind == name]

    async def send(self, update: bytes, **more: Any) -> None:
        body = {"document_id": self.document, "user_id": "x", "update": list(update), **more}
        await self.socket.emit("ydoc:document:update", body)

    async def stored(self, update: bytes, **more: Any) -> Any:
        """Sends an update, and gives what the server acknowledges it by."""
        body = {"document_id": self.document, "user_id": "x", "update": list(update), **more}
        return await self.socket.call("ydoc:document:update", body, timeout=30)

    def change(self, change: Callable[[], None]) -> bytes:
        """Does something to the document, and gives it as an update."""
        before = self.doc.get_state()
        with self.doc.transaction():
            change()
        made: bytes = self.doc.get_update(before)
        return made

    def typing(self, text: str, block: int = 0) -> bytes:
        """An update with text at the end of a block."""

        def put() -> None:
            while len(self.root.children) <= block:
                self.root.children.append(XmlElement("paragraph"))
            held = self.root.children[block]
            if not len(held.children):
                held.children.append(XmlText())
            last = held.children[len(held.children) - 1]
            last.insert(len(str(last).encode()), text)

        return self.change(put)

    async def type(self, text: str, block: int = 0) -> Any:
        return await self.stored(self.typing(text, block))

    async def until(self, done: Callable[["Editor"], bool], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while not done(self):
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def editors(url: str, note_id: str, *tokens: str, answers: bool = True) -> AsyncIterator[list[Editor]]:
    """Editors that have a note open."""
    made = [Editor(url, token, note_id, answers=answers) for token in tokens]
    try:
        for one in made:
            await one.open()
        yield made
    finally:
        for one in made:
            await one.close()
