"""The worker's end of the pipe: frames, and questions to the server that a plugin awaits, or waits for without a coroutine."""

import asyncio
import concurrent.futures
import contextvars
import itertools
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from oui_sandbox import encode
from oui_sandbox.protocol import LENGTH, MAX_FRAME, Frames

# The call that runs: what is asked is asked for it.
CALL: contextvars.ContextVar[int | None] = contextvars.ContextVar("call", default=None)
_READ: Final = 256 * 1024


class AskError(Exception):
    """The server's no, as a sentence."""


class Channel:
    """To be made in the thread of the event loop. `handle` is called there with each frame that is no answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, concurrent.futures.Future[Any]] = {}
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._ended = asyncio.Event()
        self.handle: Callable[[dict[str, Any]], None] = lambda _: None
        # The only call that runs, for threads that a plugin started by itself.
        self.only_call: Callable[[], int | None] = lambda: None

    async def serve(self) -> None:
        """Until the server closes it."""
        self._loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._read, self._dispatch)
        await self._ended.wait()

    def send(self, frame: dict[str, Any]) -> None:
        """From any thread; waits where the server reads slowly. Raises ValueError for what can't be sent."""
        data = encode.text(frame).encode("utf-8", "replace")
        if len(data) > MAX_FRAME:
            raise ValueError(f"It has {len(data):,} bytes; at most {MAX_FRAME:,} may be sent at once.")
        rest = memoryview(LENGTH.pack(len(data)) + data)
        with self._lock:
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    select.select([], [self._sock], [])

    async def ask(self, name: str, arguments: Any) -> Any:
        """The server's answer. Raises AskError."""
        return await asyncio.wrap_future(self._asked(name, arguments))

    def ask_now(self, name: str, arguments: Any) -> Any:
        """The same without a coroutine: it holds up the thread. Raises AskError."""
        answer = self._asked(name, arguments)
        if threading.get_ident() == self._thread:
            # The answer comes where this waits: other frames are put off until it is there.
            while not answer.done() and not self._ended.is_set():
                select.select([self._sock], [], [])
                self._read(lambda frame: self._loop.call_soon(self._dispatch, frame))
        return answer.result()

    def _asked(self, name: str, arguments: Any) -> "concurrent.futures.Future[Any]":
        call = CALL.get()
        number = next(self._numbers)
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._waiting[number] = answer
        self.send(
            {
                "op": "ask",
                "ask": number,
                "id": self.only_call() if call is None else call,
                "name": name,
                "arguments": arguments,
            }
        )
        return answer

    def _read(self, take: Callable[[dict[str, Any]], object]) -> None:
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        for frame in self._frames.feed(data):
            if frame.get("op") == "answer":
                self._answer(frame)
            else:
                take(frame)

    def _answer(self, frame: dict[str, Any]) -> None:
        answer = self._waiting.pop(frame["ask"], None)
        if answer is None or not answer.set_running_or_notify_cancel():
            return
        if "error" in frame:
            answer.set_exception(AskError(frame["error"]))
        else:
            answer.set_result(frame.get("value"))

    def _dispatch(self, frame: dict[str, Any]) -> None:
        self.handle(frame)

    def _end(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._ended.set()
        for answer in self._waiting.values():
            if answer.set_running_or_notify_cancel():
                answer.set_exception(AskError("The server has gone."))
