"""Streams that pages send over their sockets: answers of providers that only the person's own browser asks.

The page is told an event name, the channel, of the form USER:SOCKET:REQUEST, and sends the stream's lines as events of that
name. A channel is taken only from the socket that was asked, while its person is signed in there, and only until it is over.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from open_webui.errors import TooLarge, TooManyRequests
from open_webui.internal.bus.port import Bus
from open_webui.socket.remote import instance_of, socket_id

# A channel's news: from the process with the socket to that with the answer, and the other way that nobody listens any more.
STREAM, CLOSED = "socket:stream", "socket:stream:closed"
GONE: Final = "The browser session is gone."
# Streams that one socket sends at once.
MOST_OF_SOCKET: Final = 32
# Bytes of a stream that wait for who reads it.
MOST_WAITING: Final = 16 * 2**20
FULL: Final = "The browser sent more of the answer than this server takes at once."
MANY: Final = "This page asks too many models of its own at once. Wait for one to end."


def _unheard(_sid: str, _sends: bool) -> None:
    """Nobody listens."""


class Channel:
    """A stream, where it is read. Texts are those of the page's events; iterating ends with the stream's end.

    Raises LookupError when the socket is gone, TimeoutError after `silence` seconds without a word, TooLarge.
    """

    def __init__(self, name: str, session_id: str) -> None:
        self.name = name
        self.session_id = session_id
        self._waiting: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._size = 0
        self._is_full = False

    def put(self, text: bytes) -> None:
        """Takes what came."""
        self._size += len(text)
        if self._size > MOST_WAITING:
            if not self._is_full:
                self._is_full = True
                self._waiting.put_nowait(TooLarge(FULL))
            return
        self._waiting.put_nowait(text)

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        self._waiting.put_nowait(error)

    async def texts(self, silence: float) -> AsyncIterator[bytes]:
        """What comes, in order."""
        while True:
            async with asyncio.timeout(silence):
                got = await self._waiting.get()
            if got is None:
                return
            if isinstance(got, Exception):
                raise got
            self._size -= len(got)
            yield got


class Channels:
    """All channels of this process: those that are read here, and those that sockets here send."""

    def __init__(self) -> None:
        self._bus: Bus | None = None
        # Told of a socket here that begins to send, or sends nothing more.
        self.on_sending: Callable[[str, bool], None] = _unheard
        # By name: what is read here.
        self._read: dict[str, Channel] = {}
        # By name: the socket here that sends it, and the process that reads it; None where it is this one.
        self._sent: dict[str, tuple[str, str | None]] = {}

    def open_bus(self, bus: Bus) -> None:
        """Streams may cross processes. To be called before the bus is opened."""
        self._bus = bus
        bus.subscribe(STREAM, self._on_stream)
        bus.subscribe(CLOSED, self._on_closed)
        bus.on_left(self._on_left)

    # Where it is read

    def open(self, user_id: str, session_id: str) -> Channel:
        """A channel that one socket of a person may send. To be closed."""
        instance = self._bus.instance if self._bus is not None else "here"
        channel = Channel(f"{user_id}:{session_id}:{socket_id(instance, secrets.token_urlsafe(15))}", session_id)
        self._read[channel.name] = channel
        return channel

    def close(self, channel: Channel) -> None:
        """Nobody reads it any more: what still comes is passed over."""
        self._read.pop(channel.name, None)
        self._over(channel.name)
        owner = instance_of(channel.session_id)
        if self._bus is not None and owner in self._bus.peers:
            self._bus.send(owner, CLOSED, channel.name)

    # Where the socket is

    def expect(self, name: str, sid: str, reader: str | None) -> None:
        """A socket here was asked to send a channel. reader: the process that reads it. Raises TooManyRequests."""
        if (count := self._count(sid)) >= MOST_OF_SOCKET:
            raise TooManyRequests(MANY)
        self._sent[name] = sid, reader
        if not count:
            self.on_sending(sid, True)

    def _count(self, sid: str) -> int:
        return sum(1 for one, _ in self._sent.values() if one == sid)

    def _over(self, name: str) -> None:
        """Nothing more of it is taken."""
        sid, _ = self._sent.pop(name, ("", None))
        if sid and not self._count(sid):
            self.on_sending(sid, False)

    def is_expected(self, name: str) -> bool:
        """Whether a socket here was asked for it."""
        return name in self._sent

    def received(self, sid: str, user_id: str, name: str, value: Any) -> None:
        """An event of that name came from a socket."""
        sender, reader = self._sent.get(name, ("", None))
        if sender != sid or not name.startswith(f"{user_id}:{sid}:"):
            return
        is_over = isinstance(value, dict) and value.get("done") is True
        if is_over:
            self._over(name)
        text = (
            b"" if is_over else value.encode(errors="replace") if isinstance(value, str) else msgspec.json.encode(value)
        )
        self._pass_on(name, reader, "end" if is_over else "text", text)

    def forget(self, sid: str) -> None:
        """A socket is gone, or somebody else's: its streams break off."""
        for name in [name for name, (sender, _) in self._sent.items() if sender == sid]:
            _, reader = self._sent.pop(name)
            self._pass_on(name, reader, "gone", b"")

    def _pass_on(self, name: str, reader: str | None, kind: str, text: bytes) -> None:
        if reader is None or self._bus is None:
            self._take(name, kind, text)
        elif reader in self._bus.peers:
            self._bus.send(reader, STREAM, [name, kind, text])

    def _take(self, name: str, kind: str, text: bytes) -> None:
        channel = self._read.get(name)
        if channel is None:
            return
        if kind == "text":
            channel.put(text)
        else:
            channel.end(LookupError(GONE) if kind == "gone" else None)

    # Other processes

    def _on_stream(self, peer: str, payload: Any) -> None:
        name, kind, text = msgspec.convert(payload, tuple[str, str, bytes], builtin_types=(bytes,))
        channel = self._read.get(name)
        if channel is not None and instance_of(channel.session_id) == peer:
            self._take(name, kind, text)

    def _on_closed(self, _peer: str, payload: Any) -> None:
        self._over(msgspec.convert(payload, str))

    def _on_left(self, peer: str) -> None:
        for channel in list(self._read.values()):
            if instance_of(channel.session_id) == peer:
                channel.end(LookupError(GONE))
        for name in [name for name, (_, reader) in self._sent.items() if reader == peer]:
            self._over(name)
