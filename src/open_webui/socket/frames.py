"""Ready WebSocket frames, written straight to a connection: an event that goes to many sockets is framed once.

An event that goes through Socket.IO's, Engine.IO's and the server's layers costs a task, two queues and a frame for each
socket; written here it costs one write. The library goes on to do everything else: handshakes, acknowledgements, heartbeats.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import socketio
from engineio import packet
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from open_webui.internal.bounded_http import count_for, proxies
from open_webui.internal.log import get_logger
from open_webui.socket.incoming import MAX_ANONYMOUS, Rate

log = get_logger(__name__)
EXTENSION: Final = "open_webui.frames"
# A client that has left this many bytes unread is let go. It connects again and fetches what it missed.
MAX_WAITING_BYTES: Final = 16 * 2**20
# The same for a socket that Engine.IO keeps a queue for (long polling).
MAX_WAITING_PACKETS: Final = 20_000
# What Engine.IO and Socket.IO put before the JSON of an event, and of the packet that tells a socket its id.
_EVENT: Final = b"42"
_CONNECTED: Final = "40{"
# So much is parsed before it is looked at whether the socket has sent too much: some 700 of the smallest frames.
_SLICE: Final = 4096
# Pieces in which one message may come.
_MAX_PIECES: Final = 64
_BINARY, _NOT_UTF8, _TOO_MUCH, _TOO_LARGE = 1003, 1007, 1008, 1009


class FrameProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, which also takes frames that are ready (scope extension `open_webui.frames`).

    What a client sends is bounded: text messages of up to MAX_ANONYMOUS bytes, or what `accept_up_to` says, in a few pieces, and
    so many frames of any kind in a second. Beyond that the connection ends, with one line in the log at DEBUG.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ready: list[bytes] = []
        self._rate = Rate()
        self._bound = MAX_ANONYMOUS
        # Bytes that came since the last whole frame.
        self._unfinished = 0
        # See `bounded_http.count_for`.
        self.counted_for = ""

    def connection_lost(self, exc: Exception | None) -> None:
        count_for(self, "")
        super().connection_lost(exc)

    @property
    def expendable(self) -> bool:
        """Whether nobody has signed in over this connection."""
        return self._bound <= MAX_ANONYMOUS

    def accept_up_to(self, size: int) -> None:
        """Takes messages of up to so many bytes from now on."""
        self._bound = size

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            piece = data[at : at + _SLICE]
            self._unfinished += len(piece)
            super().data_received(piece)
            if self._unfinished > self._bound + 2 * _SLICE:
                self._refuse(_TOO_LARGE, "a message that is too large")

    def handle_text(self, event: Frame) -> None:
        if self._counted(len(event.data)):
            super().handle_text(event)

    def handle_cont(self, event: Frame) -> None:
        if not self._counted(len(event.data) + sum(map(len, self.frames))):
            return
        if len(self.frames) >= _MAX_PIECES:
            self._refuse(_TOO_MUCH, "a message in too many pieces")
            return
        super().handle_cont(event)

    def handle_bytes(self, _event: Frame) -> None:
        self._refuse(_BINARY, "a binary message")

    def handle_ping(self) -> None:
        if self._counted():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._counted():
            super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        try:
            b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self._refuse(_NOT_UTF8, "text that is not UTF-8")
        else:
            super().send_receive_event_to_app()

    def _counted(self, size: int = 0) -> bool:
        """Counts a frame. False: it is not to be handled, the connection ends."""
        self._unfinished = 0
        if self.close_sent:
            return False
        if size > self._bound:
            self._refuse(_TOO_LARGE, "a message that is too large")
            return False
        if not self._rate.spend():
            self._refuse(_TOO_MUCH, "too many frames in a second")
            return False
        return True

    def _refuse(self, code: int, why: str) -> None:
        self.frames = []
        if self.close_sent or self.transport.is_closing():
            return
        log.debug("a socket was ended", why=why, client=self.client)
        self.conn.fail(code, why)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # What waits to be handled is dropped, too.
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": why})
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            listed = proxies(str(self.config.forwarded_allow_ips))
            listed.apply(self.scope, believed=self.client is not None and self.client[0] in listed)
            self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]  # uvicorn's type knows only its own

    def write_frame(self, frame: bytes) -> None:
        """Writes a frame after those before it, together with others of this turn of the event loop. One that can't be
        sent any more is dropped.
        """
        if not self._ready:
            self.loop.call_soon(self._write_ready)
        self._ready.append(frame)

    def _write_ready(self) -> None:
        frames, self._ready = self._ready, []
        transport = self.transport
        if self.close_sent or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            log.info("a client that reads too slowly was let go", client=self.client)
            transport.abort()
            return
        transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def keepalive_timeout(self) -> None:
        """A client that is gone does not read what waits for it, either."""
        super().keepalive_timeout()
        self.transport.abort()


class FrameWriter:
    """Sends events to sockets by their Socket.IO ids, each socket's in the order of the calls."""

    def __init__(self, server: socketio.AsyncServer) -> None:
        self._server = server
        self._connections: dict[str, FrameProtocol] = {}

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The Socket.IO application, watched for which socket gets which connection."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            connection = (scope.get("extensions") or {}).get(EXTENSION)
            if connection is None:
                await app(scope, receive, send)
                return
            sid = ""

            async def out(message: Message) -> None:
                nonlocal sid
                await send(message)
                text = message.get("text")
                if text and text.startswith(_CONNECTED):
                    # From here on events may overtake what the library still has to send; before, they may not. A client
                    # that left and entered again over the same connection has a new id.
                    self._connections.pop(sid, None)
                    sid = msgspec.json.decode(text[2:])["sid"]
                    self._connections[sid] = connection

            try:
                await app(scope, receive, out)
            finally:
                self._connections.pop(sid, None)

        return watched

    def send(self, sids: Collection[str], body: bytes) -> None:
        """Sends an event (`event_body`) to sockets. Who is gone misses it."""
        frame: bytes | None = None
        for sid in sids:
            connection = self._connections.get(sid)
            if connection is None:
                self._queue(sid, body)
            else:
                frame = frame or text_frame(_EVENT + body)
                connection.write_frame(frame)

    def _queue(self, sid: str, body: bytes) -> None:
        """Hands an event to Engine.IO: for long polling, and for a socket that does not know its own id yet."""
        sockets = self._server.eio.sockets
        socket = sockets.get(self._server.manager.eio_sid_from_sid(sid, "/"))
        if socket is None or socket.closed:
            return
        if socket.queue.qsize() > MAX_WAITING_PACKETS:
            log.info("a client that reads too slowly was let go")
            self._server.start_background_task(self._server.disconnect, sid)
            return
        socket.queue.put_nowait(packet.Packet(packet.MESSAGE, (_EVENT[1:] + body).decode()))


async def end_socket(server: socketio.AsyncServer, sid: str) -> None:
    """Disconnects a socket and closes its connection, which a client of good will would do by itself."""
    eio_sid = server.manager.eio_sid_from_sid(sid, "/")
    await server.disconnect(sid)
    await end_connection(server, eio_sid)


async def end_connection(server: socketio.AsyncServer, eio_sid: str | None) -> None:
    """Closes a connection by its Engine.IO id, after what waits to be sent over it."""
    socket = server.eio.sockets.get(eio_sid)
    if socket is not None and not socket.closed:
        await socket.close(wait=False)
        # The end of what the connection writes: Engine.IO closes it then.
        socket.queue.put_nowait(None)


def event_body(name: str, payload: dict[str, Any]) -> bytes:
    """An event as sockets get it. The payload is any JSON, encoded parts (msgspec.Raw) included."""
    return msgspec.json.encode((name, payload))


def shared_copy(body: bytes) -> bytes:
    """An event about a chat as people get it whose chat it is not: with `shared: true` at the end of its payload."""
    return body[:-2] + b',"shared":true}]'


def text_frame(payload: bytes) -> bytes:
    """One whole WebSocket text frame from a server (RFC 6455, section 5.2): not masked, not compressed."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, size))
    elif size < 2**16:
        head = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + size.to_bytes(8, "big")
    return head + payload
