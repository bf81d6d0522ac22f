"""uvicorn's HTTP connection with bounds: on the size of a request's head, on the time it and its body take, on idle connections.

The bounds cost a request a few additions. Time is looked at once a second, for all connections in one go.
"""

import asyncio
import contextlib
import sys
from typing import Any, Final
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from open_webui.internal.log import get_logger

if sys.platform != "win32":
    import resource

log = get_logger(__name__)
# Bytes of a request line with its headers, and of anything else that is not a body. Headers in one request.
MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 200
# Requests that one connection may send before the first of them is answered.
MAX_WAITING: Final = 16
# Seconds in which a request's head is there, from its first byte or from the connection's begin.
HEAD_SECONDS: Final = 10.0
# A body has to bring so many bytes in so many seconds, while the server reads.
BODY_SECONDS: Final = 30.0
BODY_BYTES: Final = 8 * 1024
# After a connection was closed: until it is gone even though the client does not read what waits for it.
PARTING_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
# Connections at once, where the system allows so many files; the rest of its files is for the database and providers.
MAX_CONNECTIONS: Final = 20_000
_SHARE: Final = 0.8
_REFUSALS: Final = {
    408: b"The request did not arrive in time.",
    414: b"The address of the request is longer than this server accepts (64 KB).",
    431: b"The headers of the request are larger than this server accepts (64 KB, 200 of them).",
    503: b"The server has too many open connections. Try again in a moment.",
}


class _HeadTooLarge(Exception):
    """Ends the parsing of a request."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. It refuses what is larger or slower than the bounds, and closes what is idle for too long."""

    max_connections = MAX_CONNECTIONS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Bytes read since the last that were of any use: since a head was whole, or a piece of a body came.
        self._of_no_use = 0
        self._in_body = False
        # Bytes of the body since `_body_from`.
        self._body_bytes = 0
        self._body_from = 0.0
        # When the connection ends unless something happens; 0: it may stay.
        self._deadline = 0.0
        self._refused = False

    @property
    def expendable(self) -> bool:
        """Whether nobody waits for anything on this connection."""
        return not self._in_body and self._is_silent()

    def _is_silent(self) -> bool:
        """Whether no answer is due or under way."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type does not know that it begins as None
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._deadline = self.loop.time() + HEAD_SECONDS
        _watch(self.loop, self.server_state)
        if len(self.connections) > self.max_connections and not make_room(self.server_state, self):
            self._refuse(503)

    def data_received(self, data: bytes) -> None:
        size = len(data)
        for at in range(0, size, MAX_HEAD):
            if self.transport.is_closing():
                return
            self._of_no_use += min(size - at, MAX_HEAD)
            super().data_received(data if size <= MAX_HEAD else data[at : at + MAX_HEAD])
            if self._of_no_use >= MAX_HEAD:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._deadline = self.loop.time() + HEAD_SECONDS

    def on_headers_complete(self) -> None:
        self._of_no_use = 0
        headers = self.headers
        if len(headers) > MAX_HEADERS or len(self.url) + sum(len(n) + len(v) for n, v in headers) > MAX_HEAD:
            self._refuse_head()
            raise _HeadTooLarge
        if len(self.pipeline) >= MAX_WAITING:
            self._end()
            raise _HeadTooLarge
        super().on_headers_complete()
        self._in_body = True
        self._body_bytes = 0
        self._body_from = self.loop.time()
        self._deadline = self._body_from + BODY_SECONDS

    def on_body(self, body: bytes) -> None:
        self._of_no_use = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._of_no_use = 0
        self._in_body = False
        self._deadline = 0.0
        super().on_message_complete()
        if self._is_silent():
            self._wait_for_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_body:
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        """The next request has so long to begin; uvicorn's own timer ends with the first byte of whatever comes."""
        self._deadline = self.loop.time() + self.timeout_keep_alive + HEAD_SECONDS

    def send_400_response(self, msg: str) -> None:
        if not self._refused and not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse_head(self) -> None:
        self._refuse(414 if len(self.url) > MAX_HEAD // 2 else 431)

    def _refuse(self, status: int) -> None:
        """Answers for the application, unless it is in the middle of an answer, and closes."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        log.debug("a connection was refused", status=status, client=self.client)
        if self._is_silent():
            text = _REFUSALS[status]
            head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
                text
            )
            self.transport.write(STATUS_LINE[status] + head + text)
        self._end()

    def _end(self) -> None:
        self._refused = True
        self._deadline = self.loop.time() + PARTING_SECONDS
        self.transport.close()

    def look(self, now: float) -> None:
        """Ends the connection if its time is over. Called once a second."""
        if not self._deadline or now < self._deadline:
            return
        if self.transport.is_closing():
            self.transport.abort()
        elif not self._in_body:
            if self.expendable and self._of_no_use:
                self._refuse(408)
            else:
                self._end()
        elif self.flow.read_paused:
            # It is the server that lets the client wait.
            self._deadline = now + BODY_SECONDS
        elif self._body_bytes < BODY_BYTES or self.cycle.response_complete:
            log.debug("a body came too slowly", client=self.client)
            self._end()
        else:
            self._body_bytes, self._body_from = 0, now
            self._deadline = now + BODY_SECONDS


_watched: "WeakSet[ServerState]" = WeakSet()


def _watch(loop: asyncio.AbstractEventLoop, state: ServerState) -> None:
    """Begins to look at a server's connections, until none is left."""
    if state not in _watched:
        _watched.add(state)
        loop.call_later(LOOK_SECONDS, _look, loop, state)


def _look(loop: asyncio.AbstractEventLoop, state: ServerState) -> None:
    now = loop.time()
    for connection in list(state.connections):
        if isinstance(connection, BoundedHttp):
            connection.look(now)
    if state.connections:
        loop.call_later(LOOK_SECONDS, _look, loop, state)
    else:
        _watched.discard(state)


def make_room(state: ServerState, newest: asyncio.Protocol) -> int:
    """Closes a tenth of the connections that nobody waits for, but for the newest, and returns how many it closed."""
    expendable = [
        c
        for c in state.connections
        if c is not newest and getattr(c, "expendable", False) and not c.transport.is_closing()
    ]
    # A set has no order: chance decides, and who tries again is let in.
    closed = expendable[: max(1, len(state.connections) // 10)]
    for connection in closed:
        connection.transport.abort()
    if closed:
        log.warning("too many connections: idle ones were closed", open=len(state.connections), closed=len(closed))
    return len(closed)


def raise_file_limit() -> int:
    """Raises the number of files this process may have open to what the system allows. Returns the limit, and makes a part of
    it the bound on connections.
    """
    limit = sys.maxsize if sys.platform == "win32" else _raised()
    BoundedHttp.max_connections = min(MAX_CONNECTIONS, max(16, int(limit * _SHARE)))
    log.info("open files", limit=limit, connections=BoundedHttp.max_connections)
    return limit


def _raised() -> int:
    def size(limit: int) -> int:
        return sys.maxsize if limit == resource.RLIM_INFINITY else limit

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name a hard limit that they do not grant.
    for wanted in (hard, 65_536, 10_240):
        if size(soft) < size(wanted):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return size(wanted)
    return size(soft)
