"""The answer as a response: the provider's chunks passed on as server-sent events, nothing re-serialised."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.connections.base import Reply
from open_webui.errors import OuiError

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies of the nginx kind would hold the stream back.
    (b"x-accel-buffering", b"no"),
]
DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": still waiting\n\n"
PING_SECONDS: Final = 15.0


class Stream(Response):
    """An open reply as an event stream. `ended` is told how it ended (an HTTP status) and every batch that went by.

    A client that goes away ends the provider's work within moments.
    """

    def __init__(self, reply: Reply, seen: Callable[[list[bytes]], None], ended: Callable[[int], None]) -> None:
        self._reply = reply
        self._seen = seen
        self._ended = ended
        self.status_code = 200
        self.background = None

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(self._watch(receive, asyncio.current_task()))
        status = 499
        try:
            async with self._reply:
                await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
                status = await self._pass_on(send)
        except asyncio.CancelledError:
            # The client is gone, or its right is: there is nobody to tell.
            pass
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            self._ended(status)

    async def _watch(self, receive: Receive, task: "asyncio.Task[None] | None") -> None:
        while task is not None:
            message = await receive()
            if message["type"] == "http.disconnect":
                task.cancel()
                return

    async def _pass_on(self, send: Send) -> int:
        status = 200
        pinger = _Pinger(send)
        try:
            async for batch in self._reply.batches():
                pinger.quiet = False
                self._seen(batch)
                body = b"data: " + b"\n\ndata: ".join(batch) + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except OuiError as error:
            status = error.status
            await send({"type": "http.response.body", "body": error_event(error), "more_body": True})
        else:
            await send({"type": "http.response.body", "body": DONE, "more_body": True})
        finally:
            pinger.stop()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return status


class _Pinger:
    """Sends a comment when the provider is silent for long, so that proxies keep the connection."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.quiet = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PING_SECONDS, self._look)
        self._tasks: set[asyncio.Task[None]] = set()

    def _look(self) -> None:
        if self.quiet:
            task = self._loop.create_task(self._ping())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.quiet = True
        self._timer = self._loop.call_later(PING_SECONDS, self._look)

    async def _ping(self) -> None:
        await self._send({"type": "http.response.body", "body": PING, "more_body": True})

    def stop(self) -> None:
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()


def error_event(error: OuiError) -> bytes:
    """The provider's error inside a stream, as OpenAI's clients understand it."""
    body: Any = getattr(error, "body", None)
    if not (isinstance(body, dict) and "error" in body):
        body = {"error": {"message": error.detail, "type": "provider_error", "code": error.status}}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
