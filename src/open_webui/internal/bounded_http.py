"""uvicorn's HTTP connection with bounds: on the size of a request's head, on the time it and its body take, on idle connections,
on how many there are.

The bounds cost a request a few additions. Time is looked at once a second, for all connections in one go.
"""

import asyncio
import contextlib
import functools
import sys
from collections import Counter
from typing import Any, Final
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from open_webui.internal.forwarded import Proxies, household
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
# Between two lines in the log on too many connections of one address.
WARNING_SECONDS: Final = 10.0
# Connections at once, where the system allows so many files; the rest of its files is for the database and providers.
MAX_CONNECTIONS: Final = 20_000
_SHARE: Final = 0.8
# Those of one address, as a part of all, where the operator sets no number. An office or a household has one address.
_SHARE_OF_ONE: Final = 0.25
_REFUSALS: Final = {
    408: b"The request did not arrive in time.",
    414: b"The address of the request is longer than this server accepts (64 KB).",
    431: b"The headers of the request are larger than this server accepts (64 KB, 200 of them).",
    429: b"Your address has too many open connections to this server. Close some, or try again in a moment.",
    503: b"The server has too many open connections. Try again in a moment.",
}
# Connections by the address they count for (see `household`), each as long as it is open.
_of_address: Counter[str] = Counter()
# By address, "" for all: until when none can be closed, and when the log is told again. Only few addresses ever have so many.
_no_room_until: dict[str, float] = {}
_next_warning: dict[str, float] = {}
proxies = functools.cache(Proxies)


class _HeadTooLarge(Exception):
    """Ends the parsing of a request."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. It refuses what is larger or slower than the bounds, and closes what is idle for too long."""

    max_connections = MAX_CONNECTIONS
    max_of_address = int(MAX_CONNECTIONS * _SHARE_OF_ONE)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._proxies = proxies(str(self.config.forwarded_allow_ips))
        # Whether the other side is a proxy whose word on its clients is taken. It counts for none itself.
        self._from_proxy = False
        # The address that the connection counts for; empty: for none.
        self.counted_for = ""
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
        peer = self.client[0] if self.client else ""
        self._from_proxy = peer in self._proxies
        if not self._from_proxy:
            self._count(peer)
        if len(self.connections) > self.max_connections and not make_room(self.server_state, self):
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        count_for(self, "")
        super().connection_lost(exc)

    def _count(self, address: str) -> None:
        """Counts the connection for an address; one too many makes room or is refused."""
        count_for(self, household(address))
        if _of_address[self.counted_for] > self.max_of_address and not make_room(
            self.server_state, self, self.counted_for
        ):
            self._refuse(429)

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # What the connection counts for is the socket's from now on.
        socket: Any = self.transport.get_protocol()
        socket.counted_for, self.counted_for = self.counted_for, ""

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
        self._proxies.apply(self.scope, believed=self._from_proxy)
        # Read where a proxy may say who asks (access/trusted_headers.py).
        self.scope["oui.from_proxy"] = self._from_proxy  # type: ignore[typeddict-unknown-key]
        if self._from_proxy:
            self._count(self.scope["client"][0] if self.scope["client"] else "")
            if self._refused:
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
        if self._from_proxy and self._is_silent():
            count_for(self, "")
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


def count_for(connection: Any, address: str) -> None:
    """Makes an open connection count for this address instead of the one before; empty: for none."""
    if before := connection.counted_for:
        _of_address[before] -= 1
        if not _of_address[before]:
            del _of_address[before]
    connection.counted_for = address
    if address:
        _of_address[address] += 1


def make_room(state: ServerState, newest: Any, address: str = "") -> int:
    """Closes a tenth of the connections that nobody waits for, but for the newest, and returns how many it closed.

    address: only connections that count for it are closed. Where there was none to close, nobody looks again for a second.
    """
    now = newest.loop.time()
    if now < _no_room_until.get(address, 0):
        return 0
    connections: set[Any] = state.connections
    expendable = [
        c
        for c in connections
        if c is not newest
        and getattr(c, "expendable", False)
        and (not address or c.counted_for == address)
        and not c.transport.is_closing()
    ]
    # A set has no order: chance decides, and who tries again is let in.
    count = _of_address[address] if address else len(connections)
    closed = expendable[: max(1, count // 10)]
    for connection in closed:
        connection.transport.abort()
    if not closed:
        _no_room_until[address] = now + LOOK_SECONDS
    if now >= _next_warning.get(address, 0):
        _next_warning[address] = now + WARNING_SECONDS
        log.warning("too many connections", open=count, idle_ones_closed=len(closed), address=address or "all together")
    return len(closed)


def raise_file_limit(max_of_address: int | None) -> int:
    """Raises the number of files this process may have open to what the system allows. Returns the limit, and makes a part of
    it the bound on connections, of which one address has a part if max_of_address does not say how many.
    """
    limit = sys.maxsize if sys.platform == "win32" else _raised()
    BoundedHttp.max_connections = min(MAX_CONNECTIONS, max(16, int(limit * _SHARE)))
    BoundedHttp.max_of_address = max_of_address or int(BoundedHttp.max_connections * _SHARE_OF_ONE)
    log.info(
        "open files",
        limit=limit,
        connections=BoundedHttp.max_connections,
        of_one_address=BoundedHttp.max_of_address,
    )
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
