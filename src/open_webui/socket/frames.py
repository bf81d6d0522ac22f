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
from websockets.http11 import Request

from open_webui.internal.log import get_logger

log = get_logger(__name__)
EXTENSION: Final = "open_webui.frames"
# A client that has left this many bytes unread is let go. It connects again and fetches what it missed.
MAX_WAITING_BYTES: Final = 16 * 2**20
# The same for a socket that Engine.IO keeps a queue for (long polling).
MAX_WAITING_PACKETS: Final = 20_000
# What Engine.IO and Socket.IO put before the JSON of an event, and of the packet that tells a socket its id.
_EVENT: Final = b"42"
_CONNECTED: Final = "40{"


class FrameProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, which also takes frames that are ready (scope extension `open_webui.frames`)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ready: list[bytes] = []

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
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

    def send(self, sids: Collection[str], name: str, payload: dict[str, Any]) -> None:
        """Sends an event to sockets. Who is gone misses it; the payload is any JSON, encoded parts (msgspec.Raw) included."""
        body = msgspec.json.encode((name, payload))
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
