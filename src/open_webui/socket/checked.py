"""Long polling behind the checks of incoming.py."""

import urllib.parse
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_webui.internal.log import get_logger
from open_webui.socket.engine import SocketServer, end_connection
from open_webui.socket.incoming import Rate, RefusedPacket

log = get_logger(__name__)
# Between two packets of one request of long polling, and how many packets one may bring: as Engine.IO has them.
_SEPARATOR: Final = "\x1e"
_MAX_PACKETS: Final = 16
_REFUSED: Final = b"This is no packet of a page."


class CheckedPolling:
    """Wraps the Socket.IO application: a poller that sends what no page sends is ended, with one line in the log at DEBUG."""

    def __init__(self, app: ASGIApp, server: SocketServer) -> None:
        self._app = app
        self._server = server
        self._rates: dict[str, Rate] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            await self._poll(scope, receive, send)
        else:
            await self._app(scope, receive, send)

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
        bound, body, more = self._server.eio.bound(eio_sid), bytearray(), True
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
        if not all(rate.spend(len(packet)) for packet in packets):
            raise RefusedPacket("too many packets in a second")
        return _SEPARATOR.join([await self._server.eio.incoming.check(packet) for packet in packets]).encode()

    def pace(self, eio_sid: str, rate: Rate) -> None:
        """A poller may send so much from now on."""
        self._rates[eio_sid] = rate

    def _rate(self, eio_sid: str) -> Rate:
        sockets = self._server.eio.sockets
        if eio_sid not in self._rates:
            self._rates = {sid: rate for sid, rate in self._rates.items() if sid in sockets}
        return self._rates.setdefault(eio_sid, Rate())


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(_REFUSED)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})
