"""The Socket.IO application behind the checks of incoming.py, over WebSocket and over long polling."""

import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import msgspec
import socketio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_webui.internal.log import get_logger
from open_webui.socket.frames import EXTENSION, end_connection
from open_webui.socket.incoming import MAX_ANONYMOUS, Incoming, Rate, RefusedPacket

log = get_logger(__name__)
# Between two packets of one request of long polling, and how many packets one may bring: as Engine.IO has them.
_SEPARATOR: Final = "\x1e"
_MAX_PACKETS: Final = 16
_REFUSED: Final = b"This is no packet of a page."


class CheckedSockets:
    """Wraps the Socket.IO application: a socket that sends what no page sends ends, with one line in the log at DEBUG.

    max_bytes: of one packet of a socket that has signed in. A socket that has not may send MAX_ANONYMOUS.
    """

    def __init__(
        self,
        app: ASGIApp,
        server: socketio.AsyncServer,
        incoming: Incoming,
        *,
        max_bytes: int,
        signed_in: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._server = server
        self._incoming = incoming
        self._max_bytes = max_bytes
        self._signed_in = signed_in
        self._rates: dict[str, Rate] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._poll(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _bound(self, eio_sid: str) -> int:
        """How many bytes a packet of a socket may have at the moment."""
        sid = self._server.manager.sid_from_eio_sid(eio_sid, "/")
        return self._max_bytes if sid is not None and self._signed_in(sid) else MAX_ANONYMOUS

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = (scope.get("extensions") or {}).get(EXTENSION)
        eio_sid = ""

        async def out(message: Message) -> None:
            nonlocal eio_sid
            if not eio_sid and (message.get("text") or "").startswith("0{"):
                eio_sid = _opened(message["text"])
            await send(message)

        async def checked() -> Message:
            # One packet is handled after the other, so a socket that has just signed in is known to have by now.
            bound = self._bound(eio_sid)
            if connection is not None:
                connection.accept_up_to(bound)
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                return {"type": "websocket.receive", "text": await self._text(message.get("text"), bound)}
            except RefusedPacket as refused:
                log.debug("a socket was ended", why=str(refused), client=scope.get("client"))
                # The libraries take it for a client that left, and close.
                return {"type": "websocket.disconnect", "code": 1008}

        await self._app(scope, checked, out)

    async def _text(self, text: Any, bound: int) -> str:
        if not isinstance(text, str):
            raise RefusedPacket("a binary packet")
        if len(text) > bound:
            raise RefusedPacket("too large")
        return await self._incoming.check(text)

    async def _poll(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads a request of long polling whole, and hands on what was found good."""
        query = urllib.parse.parse_qs(scope.get("query_string", b"").decode("latin-1"))
        eio_sid = query.get("sid", [""])[0]
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None:
            await self._app(scope, receive, send)
            return
        if socket.closed:
            # Engine.IO would fail over one that is closed and not yet fetched from for the last time.
            await _refuse(send)
            return
        try:
            body = await self._polled(receive, eio_sid)
        except RefusedPacket as refused:
            log.debug("a socket was ended", why=str(refused), client=scope.get("client"))
            await end_connection(self._server, eio_sid)
            await _refuse(send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replayed, send)

    async def _polled(self, receive: Receive, eio_sid: str) -> bytes:
        bound, body, more = self._bound(eio_sid), bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise RefusedPacket("the client left before its request was read")
            body += message.get("body", b"")
            if len(body) > bound:
                raise RefusedPacket("too large")
            more = message.get("more_body", False)
        try:
            packets = body.decode().split(_SEPARATOR) if body else []
        except UnicodeDecodeError:
            raise RefusedPacket("not UTF-8") from None
        if len(packets) > _MAX_PACKETS:
            raise RefusedPacket("too many packets")
        rate = self._rate(eio_sid)
        if not all(rate.spend() for _ in packets):
            raise RefusedPacket("too many packets in a second")
        return _SEPARATOR.join([await self._incoming.check(packet) for packet in packets]).encode()

    def _rate(self, eio_sid: str) -> Rate:
        sockets = self._server.eio.sockets
        if eio_sid not in self._rates:
            self._rates = {sid: rate for sid, rate in self._rates.items() if sid in sockets}
        return self._rates.setdefault(eio_sid, Rate())


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(_REFUSED)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})


def _opened(text: str) -> str:
    """The id in the packet that opens a socket of Engine.IO."""
    return str(msgspec.json.decode(text[1:])["sid"])
