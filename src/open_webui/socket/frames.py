"""Ready WebSocket frames, written straight to a connection: an event that goes to many sockets is framed once.

An event that goes through Socket.IO's, Engine.IO's and the server's layers costs a task, two queues and a frame for each
socket; written here it costs one write. What a connection hears goes to its `FrameSocket` (engine.py).
"""

from collections.abc import Coroutine
from typing import Any, Final

import msgspec
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
# So much is parsed before it is looked at whether the socket has sent too much: some 700 of the smallest frames.
_SLICE: Final = 4096
# Pieces in which one message may come.
_MAX_PIECES: Final = 64
_OVER, _BINARY, _NOT_UTF8, _TOO_MUCH, _TOO_LARGE = 1000, 1003, 1007, 1008, 1009


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
        self._takes_bytes = False
        # Bytes that came since the last whole frame.
        self._unfinished = 0
        # Whether `hand_over` was called.
        self._taken = False
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

    def accept_frames(self, rate: Rate) -> None:
        """Takes so many frames from now on."""
        self._rate = rate

    def accept_bytes(self, size: int, burst: int, a_second: float) -> None:
        """Takes messages of bytes, too, of up to so many each, and so many frames at once and a second."""
        self._bound, self._takes_bytes, self._rate = size, True, Rate(burst, a_second)

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            piece = data[at : at + _SLICE]
            self._unfinished += len(piece)
            super().data_received(piece)
            if self._unfinished > self._bound + 2 * _SLICE:
                self.refuse(_TOO_LARGE, "a message that is too large")

    def handle_text(self, event: Frame) -> None:
        if self._counted(len(event.data), len(event.data)):
            super().handle_text(event)

    def handle_cont(self, event: Frame) -> None:
        if not self._counted(len(event.data) + sum(map(len, self.frames)), len(event.data)):
            return
        if len(self.frames) >= _MAX_PIECES:
            self.refuse(_TOO_MUCH, "a message in too many pieces")
            return
        super().handle_cont(event)

    def handle_bytes(self, event: Frame) -> None:
        if not self._takes_bytes:
            self.refuse(_BINARY, "a binary message")
        elif self._counted(len(event.data)):
            super().handle_bytes(event)

    def handle_ping(self) -> None:
        if self._counted():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._counted():
            super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "bytes":
            super().send_receive_event_to_app()
            return
        try:
            b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.refuse(_NOT_UTF8, "text that is not UTF-8")
        else:
            super().send_receive_event_to_app()

    def _counted(self, size: int = 0, weight: int = 0) -> bool:
        """Counts a frame of text by so many bytes, and any other as one. size: of the message until now. False: it is not to be
        handled, the connection ends.
        """
        self._unfinished = 0
        if self.close_sent:
            return False
        if size > self._bound:
            self.refuse(_TOO_LARGE, "a message that is too large")
            return False
        if not self._rate.spend(weight):
            self.refuse(_TOO_MUCH, "too many frames in a second")
            return False
        return True

    def refuse(self, code: int, why: str) -> None:
        """Ends the connection at once, with one line in the log at DEBUG."""
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

    def start_keepalive(self) -> None:
        """Engine.IO pings."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if self._taken:
            # What the connection began with.
            del self.scope, self.request, self.response
            if self.close_timer is not None:
                self.close_timer.cancel()
                self.close_timer = None

    def hand_over(self, queue: Any) -> None:
        """Gives what comes from now on to `queue`, which handles it as it is put there. The application is to return."""
        waiting, self.queue, self._taken = self.queue, queue, True
        while not waiting.empty():
            queue.put_nowait(waiting.get_nowait())
        # With one, uvicorn leaves the connection open when the application returns.
        self.close_timer = self.loop.call_later(self.close_timeout, int)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Has this done in a task that a server that stops waits for."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def read_on(self) -> None:
        """Takes more: what was read is being handled."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def end(self) -> None:
        """Closes, after what waits to be written. A client that does not do the same has so long for it."""
        if self._ready:
            self._write_ready()
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(_OVER)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.read_on()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)


def event_body(name: str, payload: dict[str, Any]) -> bytes:
    """An event as sockets get it. The payload is any JSON, encoded parts (msgspec.Raw) included."""
    return msgspec.json.encode((name, payload))


def shared_copy(body: bytes, asker: str = "") -> bytes:
    """An event about a chat as people get it whose chat it is not: its payload ends with `shared: true`, and before that
    with the id of who caused it, if that is known.
    """
    caused = b',"user_id":' + msgspec.json.encode(asker) if asker else b""
    return body[:-2] + caused + b',"shared":true}]'


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
