"""Engine.IO over WebSockets that rest as two small objects, and which socket is which.

The library keeps five tasks, ten queues' ends and some thirty coroutines for each WebSocket, and looks through all sockets
when one of them leaves. Here a task is there while a packet is handled, and one look a second is the timer of all sockets.
Long polling is the library's.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import engineio
import socketio
from engineio import packet

from open_webui.internal.log import get_logger
from open_webui.socket.frames import EXTENSION, FrameProtocol, text_frame
from open_webui.socket.incoming import MAX_ANONYMOUS, MAX_NOTE_PACKET, Incoming, RefusedPacket

log = get_logger(__name__)
# How often it is looked at whose turn it is to be pinged, and who did not answer.
LOOK_SECONDS: Final = 1.0
# A client of long polling that leaves so many packets is let go. It connects again and fetches what it missed.
MAX_WAITING_PACKETS: Final = 20_000
# What Engine.IO and Socket.IO put before the JSON of an event.
_EVENT: Final = b"42"
_POLICY, _FAILED = 1008, 1011
_CLOSE, _PING, _PONG = "1", "2", "3"
_PING_FRAME: Final = text_frame(_PING.encode())
_CLOSE_FRAME: Final = text_frame(_CLOSE.encode())


class FrameSocket:
    """An Engine.IO socket over a WebSocket: what the library's AsyncSocket is, and the queue that its connection fills.

    Packets are handled one after the other, in a task that ends with the last of them.
    """

    __slots__ = ("_answers", "_due", "_engine", "_handling", "_waiting", "closed", "closing", "connection", "sid")
    # As the library asks for it.
    connected = upgraded = True
    upgrading = False

    def __init__(self, engine: "Engine", sid: str, connection: FrameProtocol) -> None:
        self._engine = engine
        self.sid = sid
        self.connection = connection
        self.closing = self.closed = False
        self._waiting: list[Any] = []
        self._handling = False
        # Whether it has answered the last ping, and when the next ping or that answer is due.
        self._answers = True
        self._due = connection.loop.time() + engine.ping_interval

    async def send(self, pkt: packet.Packet) -> None:
        self.connection.write_frame(text_frame(pkt.encode().encode()))

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:  # noqa: ARG002 - the library's
        """Ends the socket and its connection; without `abort` the client is told first."""
        if self.closing:
            return
        self.closing = True
        self._waiting.clear()
        await self._engine.handle("disconnect", self.sid, reason or self._engine.reason.SERVER_DISCONNECT)
        self.closed = True
        self._engine.sockets.pop(self.sid, None)
        if not abort:
            self.connection.write_frame(_CLOSE_FRAME)
        self.connection.end()

    def look(self, now: float) -> None:
        """Pings the client if it is time, or lets it go if it did not answer."""
        if now < self._due or self.closing:
            return
        if self._answers:
            self._answers, self._due = False, now + self._engine.ping_timeout
            self.connection.write_frame(_PING_FRAME)
        else:
            # A client that is gone does not read what waits for it, either.
            self.connection.transport.abort()

    # As a queue

    def put_nowait(self, message: Any) -> None:
        """Takes what has come over the connection: messages of ASGI."""
        if self.closing:
            return
        self._waiting.append(message)
        if not self._handling:
            self._handling = True
            self.connection.start(self._handle())

    def get_nowait(self) -> Any:
        return self._waiting.pop(0)

    def empty(self) -> bool:
        return not self._waiting

    async def _handle(self) -> None:
        try:
            while self._waiting:
                message = self._waiting.pop(0)
                if not self._waiting:
                    self.connection.read_on()
                try:
                    await self._take(message.get("text"))
                except Exception:
                    log.exception("a packet of a socket could not be handled")
                    self.connection.refuse(_FAILED, "the server failed")
        finally:
            self._handling = False

    async def _take(self, text: str | None) -> None:
        """Handles a packet. None: the connection is over."""
        engine = self._engine
        if text is None:
            await self.close(abort=True, reason=engine.reason.TRANSPORT_CLOSE)
            return
        try:
            text = await engine.incoming.check(text)
        except RefusedPacket as refused:
            self.connection.refuse(_POLICY, str(refused))
            return
        if text == _PONG:
            self._answers, self._due = True, self.connection.loop.time() + engine.ping_interval
        elif text == _CLOSE:
            await self.close(abort=True, reason=engine.reason.CLIENT_DISCONNECT)
        else:
            await engine.handle("message", self.sid, text[1:])
            # It may have signed in with it.
            self.connection.accept_up_to(engine.bound(self.sid))


class Engine(engineio.AsyncServer):  # type: ignore[misc] # the library is not typed
    """The library's Engine.IO server with `FrameSocket`s.

    incoming: checks packets. bound: how many bytes a packet of a socket may have at the moment, by its Engine.IO id.
    """

    incoming: Incoming
    bound: Callable[[str], int]

    async def handle(self, event: str, *values: Any) -> None:
        """Has Socket.IO handle an event. What that raises is logged."""
        await self._trigger_event(event, *values)

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        if transport != "websocket":
            return await super()._handle_connect(environ, transport, jsonp_index)
        connection = (environ["asgi.scope"].get("extensions") or {}).get(EXTENSION)
        if connection is None:
            return self._bad_request("This is no WebSocket.")
        await environ["asgi.send"]({"type": "websocket.accept"})
        socket = FrameSocket(self, self.generate_id(), connection)
        self.sockets[socket.sid] = socket
        # Nobody asks for the headers any more; from where it is stands in the audit record.
        client = environ["asgi.scope"].get("client")
        await self.handle("connect", socket.sid, {"address": client[0] if client else ""})
        opening = {
            "sid": socket.sid, "upgrades": [], "pingInterval": self.ping_interval * 1000,
            "pingTimeout": self.ping_timeout * 1000, "maxPayload": self.max_http_buffer_size,
        }  # fmt: skip
        await socket.send(packet.Packet(packet.OPEN, opening))
        connection.hand_over(socket)
        return ""

    async def watch(self) -> None:
        """Sends all pings, and ends sockets whose client does not answer. Never returns."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for socket in list(self.sockets.values()):
                if isinstance(socket, FrameSocket):
                    socket.look(now)
                elif socket.closed:
                    self.sockets.pop(socket.sid, None)
                elif not socket.closing:
                    await socket.check_ping_timeout()


class Clients(socketio.AsyncManager):  # type: ignore[misc] # the library is not typed
    """Which Socket.IO id belongs to which Engine.IO id, in the one namespace that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: dict[str, dict[str, Any]] = {"/": {}}
        self._engine_ids: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        # Those that are about to enter or to leave.
        self._between: set[str] = set()

    def get_participants(self, _namespace: str, room: str) -> Iterator[tuple[str, str]]:
        """A socket is the only one in the room of its id, and there are no others."""
        if (eio_sid := self._engine_ids.get(room)) is not None:
            yield room, eio_sid

    async def pre_connect(self, eio_sid: str, _namespace: str) -> str | None:
        if eio_sid in self._ids:
            return None
        sid = str(self.server.eio.generate_id())
        self._engine_ids[sid], self._ids[eio_sid] = eio_sid, sid
        self._between.add(sid)
        return sid

    async def connect(self, sid: str, _namespace: str) -> str:
        self._between.discard(sid)
        return sid

    def is_connected(self, sid: str | None, _namespace: str) -> bool:
        return sid in self._engine_ids and sid not in self._between

    def sid_from_eio_sid(self, eio_sid: str, _namespace: str) -> str | None:
        return self._ids.get(eio_sid)

    def eio_sid_from_sid(self, sid: str, _namespace: str) -> str | None:
        return self._engine_ids.get(sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:  # noqa: ARG002 - the library's
        self._between.add(sid)
        return self._engine_ids.get(sid)

    def basic_disconnect(self, sid: str, _namespace: str, **_options: Any) -> None:
        self._ids.pop(self._engine_ids.pop(sid, ""), None)
        self._between.discard(sid)
        self.callbacks.pop(sid, None)


class SocketServer(socketio.AsyncServer):  # type: ignore[misc] # the library is not typed
    """Socket.IO over `Engine`.

    bytes_of: how many bytes a packet of a socket may have, by its id. One that has none yet may send MAX_ANONYMOUS.
    """

    def __init__(self, incoming: Incoming, bytes_of: Callable[[str], int], **options: Any) -> None:
        # What comes by long polling is held to the socket's own bound before the library sees it.
        super().__init__(
            client_manager=Clients(), monitor_clients=False, max_http_buffer_size=MAX_NOTE_PACKET, **options
        )
        self._bytes_of = bytes_of
        self.eio.incoming = incoming
        self.eio.bound = self._bound

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    def _bound(self, eio_sid: str) -> int:
        sid = self.manager.sid_from_eio_sid(eio_sid, "/")
        return MAX_ANONYMOUS if sid is None else self._bytes_of(sid)


class FrameWriter:
    """Sends events to sockets by their Socket.IO ids, each socket's in the order of the calls."""

    def __init__(self, server: socketio.AsyncServer) -> None:
        self._server = server

    def send(self, sids: Collection[str], body: bytes) -> None:
        """Sends an event (`event_body`) to sockets. Who is gone misses it."""
        sockets, clients = self._server.eio.sockets, self._server.manager
        frame: bytes | None = None
        for sid in sids:
            socket = sockets.get(clients.eio_sid_from_sid(sid, "/"))
            if isinstance(socket, FrameSocket):
                frame = frame or text_frame(_EVENT + body)
                socket.connection.write_frame(frame)
            elif socket is not None and not socket.closed:
                self._queue(sid, socket, body)

    def _queue(self, sid: str, socket: Any, body: bytes) -> None:
        """Hands an event to Engine.IO, for long polling."""
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
        if not isinstance(socket, FrameSocket):
            # The end of what is fetched.
            socket.queue.put_nowait(None)
